// Files embedded with `with { type: "file" }`: the import gives a path that Bun.file() can read, also in the compiled program.
declare module "*.zst" {
  const path: string;
  export default path;
}
declare module "*/init.x86_64" {
  const path: string;
  export default path;
}
declare module "*/launcher-x64" {
  const path: string;
  export default path;
}

declare module "*/launcher-arm64" {
  const path: string;
  export default path;
}

declare module "*/init.aarch64" {
  const path: string;
  export default path;
}

declare module "*/lzma2.wasm" {
  const path: string;
  export default path;
}
