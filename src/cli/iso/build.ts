import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "commander";
import { type Architecture, type IsoBuildOptions, parseArchitecture } from "../../../iso-builder/index.ts";
import { parsePhotonKernel } from "../../../iso-builder/photon.ts";
import { type BootstrapIsoRequest, buildBootstrapIso, keepBootstrapIso } from "../../machine/bootstrap-iso.ts";
import { statePaths } from "../../machine/paths.ts";
import { CommandError, stateCommand } from "../command.ts";

interface BuildOptions {
  state: string;
  kernel?: string;
  out?: string;
  kernelArg: string[];
  repository: string[];
  rpmKey: string[];
  allowUnsigned?: boolean;
  package: string[];
  addPackage: string[];
  addFile: string[];
  caCertificate: string[];
  module: string[];
  timezone?: string;
  tether?: string;
  arch: string;
  compression: string;
  secureBootKey?: string;
  secureBootCertificate?: string;
}

/** Tells a kernel source by what it is: a Photon release, a package or a folder. */
function kernelSource(text: string): NonNullable<BootstrapIsoRequest["kernel"]> {
  const photon = parsePhotonKernel(text);
  if (photon !== undefined) return { kind: "photon", ...photon };
  const absolute = resolve(text);
  const stat = statSync(absolute, { throwIfNoEntry: false });
  if (stat === undefined) throw new CommandError(`--kernel ${text}: there is no such file or folder.`, 2);
  if (stat.isDirectory()) return { kind: "directory", path: absolute };
  if (text.endsWith(".deb")) return { kind: "deb", path: absolute };
  if (text.endsWith(".rpm")) return { kind: "rpm", path: absolute };
  throw new CommandError(
    `--kernel ${text}: give photon:RELEASE, a kernel package (.rpm or .deb), or a folder with vmlinuz and modules.`,
    2,
  );
}

/** `SOURCE:PATH[:MODE]`: a file of this machine, its path on the image, and its permissions in octal. */
function addedFile(text: string): NonNullable<IsoBuildOptions["addFiles"]>[number] {
  const [, source, path, mode] = /^(.+?):(\/[^:]+)(?::([0-7]{3,4}))?$/.exec(text) ?? [];
  if (source === undefined || path === undefined) {
    throw new CommandError(
      `--add-file ${text}: write FILE:/PATH/ON/THE/IMAGE[:MODE], such as ca.conf:/etc/ca.conf:600.`,
      2,
    );
  }
  const content = resolve(source);
  const stat = statSync(content, { throwIfNoEntry: false });
  if (!stat?.isFile()) throw new CommandError(`--add-file ${text}: ${source} is not a file.`, 2);
  return { path, content, mode: mode === undefined ? stat.mode & 0o777 : Number.parseInt(mode, 8) };
}

function compression(text: string): NonNullable<IsoBuildOptions["compression"]> {
  const [, method, level] = /^(none|auto|gzip|zstd)(?::(\d+))?$/.exec(text) ?? [];
  if (method === undefined)
    throw new CommandError(`--compression ${text}: write none, auto, gzip or zstd, with :LEVEL.`, 2);
  return { method: method as "none" | "auto" | "gzip" | "zstd", ...(level !== undefined && { level: Number(level) }) };
}

async function secureBootSigner({ secureBootKey: key, secureBootCertificate: certificate }: BuildOptions) {
  if (key === undefined && certificate === undefined) return undefined;
  if (key === undefined || certificate === undefined) {
    throw new CommandError("--secure-boot-key and --secure-boot-certificate go together.", 2);
  }
  const [privateKeyPem, certificatePem] = await Promise.all([Bun.file(key).text(), Bun.file(certificate).text()]);
  return { privateKeyPem, certificatePem };
}

function architectureOf(text: string): Architecture {
  try {
    return parseArchitecture(text);
  } catch (error) {
    throw new CommandError(error instanceof Error ? error.message : String(error), 2);
  }
}

const collect = (value: string, all: string[]): string[] => [...all, value];

export function isoBuildCommand(): Command {
  return stateCommand("build", "make a bootstrap ISO: kernel package in, bootable ISO out; needs no root")
    .option(
      "--kernel <source>",
      "photon:RELEASE[/PACKAGE][:VERSION], a kernel package (.rpm, .deb), or a folder with vmlinuz and modules (default: Debian's newest kernel for VMs)",
    )
    .option("--out <file>", "where to write it (default: the endpoint's own ISO, which it takes at its next start)")
    .option("--kernel-arg <argument>", "append to the kernel's command line; repeatable", collect, [])
    .option(
      "--repository <location>",
      "RPM repository: folder, file:// or http(s):// URL, with $releasever and $basearch; repeatable (default: Photon's own)",
      collect,
      [],
    )
    .option("--rpm-key <file>", "OpenPGP public key that RPM packages must be signed by; repeatable", collect, [])
    .option("--allow-unsigned", "take RPM packages out of a repository without a signature")
    .option("--package <file>", "use this package file, and fetch none from Debian; repeatable", collect, [])
    .option(
      "--add-package <name>",
      "add a package and what it needs, from the repository or Debian; repeatable",
      collect,
      [],
    )
    .option("--add-file <file:path[:mode]>", "put a file on the image; repeatable", collect, [])
    .option(
      "--ca-certificate <file>",
      "put PEM certificates into /etc/ssl/certs/ca-certificates.crt; repeatable",
      collect,
      [],
    )
    .option("--module <name>", "load this kernel module too; repeatable", collect, [])
    .option("--timezone <name>", "time zone of the VM, such as Europe/Berlin (default: UTC)")
    .option("--tether <file>", "another build of the tether")
    .option("--arch <architecture>", "x86_64 or aarch64 (UEFI only; needs --tether)", "x86_64")
    .option("--compression <method[:level]>", "auto, zstd, gzip or none (fastest start, largest)", "auto")
    .option("--secure-boot-key <file>", "RSA key (PEM) that signs what UEFI starts")
    .option("--secure-boot-certificate <file>", "its certificate (PEM), which the firmware knows")
    .action(async (options: BuildOptions) => {
      const architecture = architectureOf(options.arch);
      if (architecture !== "x86_64" && options.out === undefined)
        throw new CommandError(
          "Container VMs of this VCH are x86_64: name where an ISO for others goes with --out.",
          2,
        );
      const paths = statePaths(options.state);
      const secureBoot = await secureBootSigner(options);
      const built = await buildBootstrapIso({
        out: resolve(options.out ?? paths.iso),
        architecture,
        ...(options.kernel !== undefined && { kernel: kernelSource(options.kernel) }),
        repositories: options.repository,
        rpmKeyFiles: options.rpmKey,
        allowUnsigned: options.allowUnsigned ?? false,
        ...(options.package.length > 0 && { packageFiles: options.package.map((path) => resolve(path)) }),
        addPackages: options.addPackage,
        addFiles: options.addFile.map(addedFile),
        caCertificates: options.caCertificate,
        modules: options.module,
        ...(options.timezone !== undefined && { timezone: options.timezone }),
        ...(options.tether !== undefined && { tether: resolve(options.tether) }),
        ...(secureBoot !== undefined && { secureBoot }),
        compression: compression(options.compression),
        kernelArguments: options.kernelArg,
        packages: paths.packages,
        say: (line) => console.error(line),
      });
      if (built.path === paths.iso) await keepBootstrapIso(paths);
      console.log(`${built.path}: ${built.size} bytes, SHA-256 ${built.sha256}, Linux ${built.kernelVersion}`);
    });
}
