/**
 * The guest programs that are embedded in this one, made by `make build`: the cross-compiled tether (zstd), the launcher
 * and the first-stage init.
 */
export interface GuestPrograms {
  /** Digest over everything embedded: another build makes another bootstrap ISO. */
  digest: string;
  tether(): Promise<Blob>;
  launcher(): Promise<Blob>;
  init(): Promise<Blob>;
}

export async function embeddedGuestPrograms(): Promise<GuestPrograms> {
  const [tether, launcher, init] = await Promise.all([
    import("../../dist/assets/tether-x64.zst", { with: { type: "file" } }),
    import("../../dist/assets/launcher-x64", { with: { type: "file" } }),
    import("../../dist/assets/init.x86_64", { with: { type: "file" } }),
  ]);
  const tetherFile = Bun.file(tether.default);
  const launcherFile = Bun.file(launcher.default);
  const initFile = Bun.file(init.default);
  const hash = new Bun.CryptoHasher("sha256");
  for (const file of [tetherFile, launcherFile, initFile]) for await (const chunk of file.stream()) hash.update(chunk);
  return {
    digest: hash.digest("hex"),
    // About 110 MB plain: decompressed once, while an ISO is made.
    tether: async () => new Blob([await Bun.zstdDecompress(await tetherFile.arrayBuffer())]),
    launcher: async () => launcherFile,
    init: async () => initFile,
  };
}
