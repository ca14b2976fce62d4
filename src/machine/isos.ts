/** What of a bootstrap ISO the endpoint has to know, read out of the file itself; and a VCH's ISOs on its vSphere. */
import { stat } from "node:fs/promises";
import { openIso } from "../../iso-builder/inspect.ts";
import { verifyIso } from "../../iso-builder/verify.ts";
import { IsoCatalog } from "../engine/isos/catalog.ts";
import type { IsoFacts, IsoRecord } from "../engine/isos/record.ts";
import { type IsoUse, isoUse } from "../engine/isos/usage.ts";
import { enginePaths } from "../engine/paths.ts";
import { connectVSphere } from "../vsphere/index.ts";
import type { EndpointSettings } from "./settings.ts";

export { BUILT_IN_ISO } from "../engine/isos/record.ts";

/** Architecture of the VMs that vSphere gives us. */
const ARCHITECTURE = "x86_64";

/** @throws Error when it is no bootstrap ISO, or one for other machines */
export async function isoFacts(path: string): Promise<IsoFacts> {
  const file = Bun.file(path);
  if (!(await file.exists())) throw new Error(`${path}: there is no such file`);
  const { manifest } = await openIso(file);
  if (manifest.architecture !== ARCHITECTURE)
    throw new Error(
      `${path} is for ${manifest.architecture}; container VMs are ${ARCHITECTURE}: build one with --arch ${ARCHITECTURE}`,
    );
  const hash = new Bun.CryptoHasher("sha256");
  for await (const chunk of file.stream()) hash.update(chunk);
  return {
    sha256: hash.digest("hex"),
    sizeBytes: (await stat(path)).size,
    kernelVersion: manifest.kernel.version,
    tetherVersion: manifest.tether.version,
    cdromBuses: manifest.cdrom,
    firmware: [
      ...(manifest.boot.bios === undefined ? [] : (["bios"] as const)),
      ...(manifest.boot.efi === undefined ? [] : (["efi"] as const)),
    ],
  };
}

/** The ISOs of a VCH, as an administrator sees them. */
export interface UsedIso extends IsoRecord {
  isDefault: boolean;
  /** Names of the VMs that start from it. */
  usedBy: readonly string[];
}

/** Opens the catalog on the vSphere of a VCH for a piece of work. Needs no running endpoint. */
async function withCatalog<T>(
  settings: EndpointSettings,
  work: (catalog: IsoCatalog, usage: () => IsoUse) => Promise<T>,
): Promise<T> {
  const vsphere = await connectVSphere(settings.vsphere);
  try {
    const { isos } = enginePaths(vsphere.files.datastore, settings.name);
    const catalog = new IsoCatalog(vsphere.files, isos, (message) => console.error(`vch: ${message}`));
    const view = await vsphere.openView();
    try {
      return await work(catalog, () => isoUse(view));
    } finally {
      await view.close();
    }
  } finally {
    await vsphere.close();
  }
}

export function listIsos(settings: EndpointSettings): Promise<UsedIso[]> {
  return withCatalog(settings, async (catalog, usage) => {
    const defaultName = await catalog.defaultName();
    const { files } = usage();
    return (await catalog.list()).map((record) => ({
      ...record,
      isDefault: record.name === defaultName,
      usedBy: files.get(record.file) ?? [],
    }));
  });
}

/** @throws Error when the file is not sound: what would not start is not offered to containers */
export async function uploadIso(
  settings: EndpointSettings,
  path: string,
  name: string,
  options: { replace: boolean },
): Promise<IsoRecord> {
  const facts = await isoFacts(path);
  const problems = await verifyIso(Bun.file(path));
  if (problems.length > 0) throw new Error(`${path} is not sound:\n  ${problems.join("\n  ")}`);
  return withCatalog(settings, (catalog) => catalog.add(name, facts, () => Bun.file(path).stream(), options));
}

export function useIso(settings: EndpointSettings, name: string): Promise<void> {
  return withCatalog(settings, (catalog) => catalog.use(name));
}

export function removeIso(settings: EndpointSettings, name: string): Promise<void> {
  return withCatalog(settings, (catalog, usage) => catalog.remove(name, usage));
}
