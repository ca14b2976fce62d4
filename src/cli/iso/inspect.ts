import { Command } from "commander";
import { openIso } from "../../../iso-builder/inspect.ts";
import type { Manifest } from "../../../iso-builder/manifest.ts";
import { cycloneDx } from "../../../iso-builder/sbom.ts";
import { verifyIso } from "../../../iso-builder/verify.ts";
import { CommandError } from "../command.ts";

async function fileOf(path: string) {
  const file = Bun.file(path);
  if (!(await file.exists())) throw new CommandError(`${path}: there is no such file.`, 2);
  return file;
}

function describe(manifest: Manifest, mediumId: string, size: number): string {
  const { kernel, boot, root, tether, packages, modules } = manifest;
  const firmware = [
    boot.bios && "BIOS (isolinux)",
    boot.efi && `UEFI${boot.efi.signedBy === undefined ? "" : `, signed by certificate ${boot.efi.signedBy}`}`,
  ];
  const compression = root.compression === undefined ? "" : `, ${root.compression}, blocks of ${root.blockSize} bytes`;
  return [
    `Medium        ${mediumId}`,
    `Size          ${size} bytes (${(size / 2 ** 20).toFixed(1)} MiB)`,
    `Architecture  ${manifest.architecture}`,
    `Firmware      ${firmware.filter(Boolean).join("; ")}`,
    `CD-ROM        ${manifest.cdrom.join(", ")}`,
    `Kernel        ${kernel.version}`,
    `Command line  ${kernel.commandLine}`,
    `Tether        ${tether.version}, SHA-256 ${tether.sha256}`,
    `Root          ${root.fileSystem}${compression}, ${Object.keys(manifest.files).length} files`,
    `Modules       ${[...modules.early, ...modules.late].join(" ") || "all built in"}`,
    "Packages",
    ...[...(kernel.package === undefined ? [] : [kernel.package]), ...packages].map(
      ({ name, version, architecture, sha256, signedBy }) =>
        `  ${name} ${version} ${architecture} ${sha256}${signedBy === undefined ? "" : ` signed by ${signedBy}`}`,
    ),
  ].join("\n");
}

export function isoInspectCommand(): Command {
  return new Command("inspect")
    .description("print what a bootstrap ISO is made of")
    .argument("<file>", "the ISO")
    .option("--sbom", "as a CycloneDX document")
    .option("--json", "as the manifest itself")
    .action(async (path: string, options: { sbom?: boolean; json?: boolean }) => {
      const file = await fileOf(path);
      const { manifest, mediumId } = await openIso(file);
      if (options.sbom) console.log(JSON.stringify(cycloneDx(manifest, mediumId), null, 2));
      else if (options.json) console.log(JSON.stringify(manifest, null, 2));
      else console.log(describe(manifest, mediumId, file.size));
    });
}

export function isoVerifyCommand(): Command {
  return new Command("verify")
    .description("compare everything on a bootstrap ISO with its manifest")
    .argument("<file>", "the ISO")
    .option("--sha256 <digest>", "and the whole file with this digest, which somebody you trust told you")
    .action(async (path: string, options: { sha256?: string }) => {
      const file = await fileOf(path);
      const problems = await verifyIso(file);
      if (options.sha256 !== undefined) {
        const hash = new Bun.CryptoHasher("sha256");
        for await (const chunk of file.stream()) hash.update(chunk);
        const actual = hash.digest("hex");
        if (actual !== options.sha256.toLowerCase()) problems.push(`the file's SHA-256 is ${actual}`);
      }
      if (problems.length > 0) throw new CommandError(`${path} is not sound:\n  ${problems.join("\n  ")}`);
      console.log(`${path}: everything fits the manifest.`);
    });
}
