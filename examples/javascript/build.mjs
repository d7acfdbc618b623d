// Which question it answers: how does app.js become a WebAssembly component
// that exports `wasi:http/incoming-handler`?
//
//   node build.mjs OUTPUT WIT
//
// WIT is the folder with the interface definitions that the Rust crate `wasip2`
// is published with. They say WASI 0.2.9; the JavaScript engine was built
// against 0.2.10 and takes no other number, although both define the same
// functions. So the copy that it sees says 0.2.10.

import { cp, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { componentize } from "@bytecodealliance/componentize-js";

const PUBLISHED = "@0.2.9";
const ENGINE = "@0.2.10";

const [output, wit] = process.argv.slice(2);
if (!output || !wit) {
  console.error("usage: node build.mjs OUTPUT WIT");
  process.exit(2);
}

const scratch = await mkdtemp(join(tmpdir(), "javascript-component-"));
try {
  await cp(wit, scratch, { recursive: true });
  for (const entry of await readdir(scratch, { recursive: true })) {
    if (!entry.endsWith(".wit")) continue;
    const path = join(scratch, entry);
    await writeFile(path, (await readFile(path, "utf8")).replaceAll(PUBLISHED, ENGINE));
  }
  const { component } = await componentize({
    sourcePath: join(dirname(fileURLToPath(import.meta.url)), "app.js"),
    witPath: scratch,
    worldName: "wasi:http/proxy",
  });
  await writeFile(output, component);
} finally {
  await rm(scratch, { recursive: true, force: true });
}
