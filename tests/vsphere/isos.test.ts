/** The catalog of bootstrap ISOs against every server: uploads, the default, VMs with IDE and SATA drives that use them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { IsoCatalog, UPLOAD_TIME_LIMIT_MILLISECONDS } from "../../src/engine/isos/catalog.ts";
import type { IsoFacts } from "../../src/engine/isos/record.ts";
import { isoEntry, isoUse } from "../../src/engine/isos/usage.ts";
import { connectVSphere, type InventoryView, type VSphere } from "../../src/vsphere/index.ts";
import { machine, PATIENCE } from "./machines.ts";
import { type RunningServer, SERVERS, stateFolder } from "./servers.ts";

const content = (fill: number): Uint8Array => new Uint8Array(300_000).fill(fill);
const facts = (bytes: Uint8Array, cdromBus: "ide" | "sata"): IsoFacts => ({
  sha256: new Bun.CryptoHasher("sha256").update(bytes).digest("hex"),
  sizeBytes: bytes.length,
  kernelVersion: "6.1.10-esx",
  tetherVersion: "1.0.0",
  cdromBuses: [cdromBus],
  firmware: ["bios"],
});

describe.each([...SERVERS])("$name", ({ start }) => {
  let server: RunningServer;
  let folder: Awaited<ReturnType<typeof stateFolder>>;
  let vsphere: VSphere;
  let view: InventoryView;
  let catalog: IsoCatalog;
  let isos = "";
  const logged: string[] = [];

  beforeAll(async () => {
    folder = await stateFolder();
    server = await start(folder.path);
    vsphere = await connectVSphere(server.target);
    view = await vsphere.openView();
    isos = `[${vsphere.files.datastore}] vch/test/iso`;
    catalog = new IsoCatalog(vsphere.files, isos, (message) => logged.push(message));
  });

  afterAll(async () => {
    await view.close();
    await vsphere.close();
    await server.stop();
    await folder.remove();
  });

  const add = (name: string, fill: number, cdromBus: "ide" | "sata", replace = false) => {
    const bytes = content(fill);
    return catalog.add(name, facts(bytes, cdromBus), () => new Blob([bytes as Uint8Array<ArrayBuffer>]).stream(), {
      replace,
    });
  };

  test("ISOs side by side, a default, and one that a VM keeps", async () => {
    expect(await catalog.list()).toEqual([]);
    expect(await catalog.defaultName()).toBe("vch");
    await add("vch", 1, "ide");
    const esx = await add("esx", 2, "sata");
    expect((await catalog.list()).map(({ name, sizeBytes }) => [name, sizeBytes])).toEqual([
      ["esx", 300_000],
      ["vch", 300_000],
    ]);
    const stored = await new Response(await vsphere.files.read(catalog.path(esx))).bytes();
    expect(Buffer.from(stored).equals(content(2))).toBe(true);
    await catalog.use("esx");

    for (const name of ["esx", "vch"]) {
      const medium = await catalog.medium(name);
      await vsphere.files.makeDirectory(`[${vsphere.files.datastore}] ${name}-vm`);
      const vm = await vsphere.createVm(
        machine(vsphere, `${name}-vm`, {
          cdrom: { path: medium.path, bus: medium.cdromBus },
          extraConfig: isoEntry(medium.path),
        }),
      );
      await view.waitFor(vm, ({ extraConfig }) => extraConfig.has("vch.iso"), PATIENCE, "the ISO's name");
    }
    expect((await catalog.medium()).name).toBe("esx");
    expect(catalog.remove("esx", () => isoUse(view))).rejects.toThrow("is the default");
    await catalog.use("vch");
    expect(catalog.remove("esx", () => isoUse(view))).rejects.toThrow("is used by esx-vm");

    // The VM keeps what it has when the name gets another content.
    const newer = await add("esx", 3, "sata", true);
    expect(newer.file).not.toBe(esx.file);
    const later = Date.now() + UPLOAD_TIME_LIMIT_MILLISECONDS + 60_000;
    expect(await catalog.prune(isoUse(view), later)).toEqual([]);
    const vm = view.list().find(({ name }) => name === "esx-vm");
    if (vm === undefined) throw new Error("the VM is not there");
    await vsphere.destroyVm(vm.reference, { keepDisks: [] });
    while (isoUse(view).files.has(esx.file)) await new Promise<void>((resolve) => void view.onChange(() => resolve()));
    expect(await catalog.prune(isoUse(view), later)).toEqual([esx.file]);
    await catalog.remove("esx", () => isoUse(view));
    expect((await catalog.list()).map(({ name }) => name)).toEqual(["vch"]);
    expect(await vsphere.files.exists(`${isos}/${newer.file}`)).toBe(false);
    expect(logged).toEqual([]);
  });
});
