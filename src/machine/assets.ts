import type { Architecture } from "../../iso-builder/index.ts";

/**
 * The programs that are embedded in this one, made by `make build`: the cross-compiled tether (zstd), the launcher and the
 * first-stage init for guests, and a decoder for packages.
 */
export interface GuestPrograms {
  /** Digest over everything embedded: another build makes another bootstrap ISO. */
  digest(): Promise<string>;
  /** For x86_64 only: it is large, and the one for arm64 is a file of its own. */
  tether(): Promise<Uint8Array>;
  launcher(architecture: Architecture): Blob;
  init(architecture: Architecture): Blob;
  /** For unpacking on this machine. */
  xzDecoder: Blob;
}

export async function embeddedGuestPrograms(): Promise<GuestPrograms> {
  const [tether, launcher, init, armLauncher, armInit, xzDecoder] = await Promise.all([
    import("../../dist/assets/tether-x64.zst", { with: { type: "file" } }),
    import("../../dist/assets/launcher-x64", { with: { type: "file" } }),
    import("../../dist/assets/init.x86_64", { with: { type: "file" } }),
    import("../../dist/assets/launcher-arm64", { with: { type: "file" } }),
    import("../../dist/assets/init.aarch64", { with: { type: "file" } }),
    import("../../dist/assets/lzma2.wasm", { with: { type: "file" } }),
  ]);
  const tetherFile = Bun.file(tether.default);
  const launcherFile = Bun.file(launcher.default);
  const initFile = Bun.file(init.default);
  return {
    async digest() {
      const hash = new Bun.CryptoHasher("sha256");
      for (const file of [tetherFile, launcherFile, initFile])
        for await (const chunk of file.stream()) hash.update(chunk);
      return hash.digest("hex");
    },
    // About 110 MB plain: decompressed once, while an ISO is made.
    tether: async () => Bun.zstdDecompress(await tetherFile.arrayBuffer()),
    launcher: (architecture) => (architecture === "x86_64" ? launcherFile : Bun.file(armLauncher.default)),
    xzDecoder: Bun.file(xzDecoder.default),
    init: (architecture) => (architecture === "x86_64" ? initFile : Bun.file(armInit.default)),
  };
}
