// Which question it answers: how does the Ruby interpreter on npm become a
// WebAssembly component that exports `wasi:cli/run`?
//
//   node build.mjs OUTPUT [PROGRAM.rb]
//
// The interpreter is merged with a launcher and two sets of stubs into one
// preview-1 command, which the published command adapter (in jco) turns into a
// component. With PROGRAM.rb the program is built in; without, the component
// takes its program from its arguments as `ruby` does.

import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { componentNew, parse, preview1AdapterCommandPath } from "@bytecodealliance/jco";

const here = dirname(fileURLToPath(import.meta.url));
const packages = join(here, "..", "node_modules");
const interpreter = join(packages, "@ruby/3.4-wasm-wasi/dist/ruby.wasm");
const merge = join(packages, "binaryen/bin/wasm-merge");

const [output, program] = process.argv.slice(2);
if (!output) {
  console.error("usage: node build.mjs OUTPUT [PROGRAM.rb]");
  process.exit(2);
}

/** The bytes of `text` as the inside of a WAT string literal. */
function literal(text) {
  return [...Buffer.from(text)].map((byte) => `\\${byte.toString(16).padStart(2, "0")}`).join("");
}

/** The Ruby text that runs first; base64 spares us Ruby's quoting rules. */
async function bootText() {
  const boot = await readFile(join(here, "boot.rb"), "utf8");
  if (!program) return boot;
  const encoded = (await readFile(program)).toString("base64");
  const name = JSON.stringify(basename(program));
  return `PROGRAM = [${name}, "${encoded}".unpack1("m").force_encoding("UTF-8")]\n${boot}`;
}

async function launcher() {
  const source = await readFile(join(here, "launcher.wat"), "utf8");
  const options = source.match(/\(data \$options "([^"]*)"\)/)[1].replaceAll("\\00", "\0");
  const boot = await bootText();
  return source
    .replaceAll("OPTIONS_SIZE", Buffer.byteLength(options))
    .replaceAll("BOOT_SIZE", Buffer.byteLength(boot) + 1)
    .replace('"BOOT\\00"', `"${literal(boot)}\\00"`);
}

const scratch = await mkdtemp(join(tmpdir(), "ruby-component-"));
try {
  const module = async (name, text) => {
    const path = join(scratch, `${name}.wasm`);
    await writeFile(path, await parse(text));
    return path;
  };
  const read = (name) => readFile(join(here, name), "utf8");
  const command = join(scratch, "command.wasm");
  execFileSync(process.execPath, [
    merge, "--all-features", "--skip-export-conflicts",
    await module("launcher", await launcher()), "launcher",
    interpreter, "ruby",
    await module("no-javascript", await read("no-javascript.wat")), "rb-js-abi-host",
    await module("handles", await read("handles.wat")), "canonical_abi",
    "-o", command,
  ], { stdio: "inherit" });
  const component = await componentNew(await readFile(command), [
    ["wasi_snapshot_preview1", await readFile(preview1AdapterCommandPath())],
  ]);
  await writeFile(output, component);
} finally {
  await rm(scratch, { recursive: true, force: true });
}
