// Which question it answers: what does a *service* payload look like to someone
// who writes JavaScript? An ordinary fetch handler; componentize-js puts it and
// its engine into a component that exports `wasi:http/incoming-handler`.
//
//   GET  /             a greeting with the time
//   GET  /fibonacci/N  the Nth Fibonacci number, N at most 10000
//   POST /reverse      the body's text, reversed by code point
//   POST /total        {"items": [{"price": 1.5, "count": 2}, …]} -> {"total": 3}

const LARGEST_FIBONACCI = 10_000; // 2090 digits; larger ones only burn CPU
const LONGEST_BODY = 1 << 20; // bytes; a body is held in memory as a whole

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname } = new URL(request.url);
  console.log(`${request.method} ${pathname}`);
  try {
    if (pathname === "/") return text(`hello from JavaScript at ${new Date().toISOString()}\n`);
    const fibonacci = pathname.match(/^\/fibonacci\/(\d{1,5})$/);
    if (fibonacci) return text(`${nthFibonacci(Number(fibonacci[1]))}\n`);
    if (pathname === "/reverse") return text([...(await body(request))].reverse().join(""));
    if (pathname === "/total") return Response.json({ total: total(JSON.parse(await body(request))) });
    return text("no such page\n", 404);
  } catch (error) {
    return text(`${error.message}\n`, error instanceof RangeError ? 413 : 400);
  }
}

function text(content, status = 200) {
  return new Response(content, { status, headers: { "content-type": "text/plain; charset=utf-8" } });
}

async function body(request) {
  if (request.method !== "POST") throw new Error("POST a body here");
  const bytes = new Uint8Array(await request.arrayBuffer());
  if (bytes.length > LONGEST_BODY) throw new RangeError("the body is larger than 1 MiB");
  return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
}

function nthFibonacci(n) {
  if (n > LARGEST_FIBONACCI) throw new RangeError(`at most ${LARGEST_FIBONACCI}`);
  let [a, b] = [0n, 1n];
  for (let i = 0; i < n; i += 1) [a, b] = [b, a + b];
  return a;
}

function total(order) {
  if (!Array.isArray(order?.items)) throw new Error("items is not a list");
  return order.items.reduce((sum, { price, count }) => {
    if (!Number.isFinite(price) || !Number.isInteger(count)) throw new Error("a price or count is not a number");
    return sum + price * count;
  }, 0);
}
