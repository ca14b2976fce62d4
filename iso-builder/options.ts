import type { PublicKeys } from "../src/format/openpgp/keys";
import type { SecureBootSigner } from "../src/format/pe";
import type { Architecture } from "./architecture";
import type { MediumCompression } from "./compression";
import type { KernelSource } from "./kernel-source";

export interface IsoBuildOptions {
  kernel: KernelSource;
  /**
   * Debian and RPM packages by path: isolinux and syslinux-common for BIOS, systemd-boot-efi for UEFI, the others are
   * unpacked into the image.
   */
  packages: string[];
  /** The program that becomes `/sbin/tether`. */
  tether: string | Blob | Promise<Uint8Array>;
  /** What the manifest calls the tether's version. */
  tetherVersion?: string;
  /** The static program that becomes `/sbin/launcher`. */
  launcher: string | Blob;
  /** The compiled `init/init.c` for the architecture. */
  init: string | Blob;
  /** The compiled `src/format/stream/lzma2/lzma2.c`; without it, packages are read by a slower decoder. */
  xzDecoder?: Blob;
  /** Where the image is to be; it appears there only when it is complete. */
  out: string;
  /** Further kernel arguments, after the default ones. */
  kernelArguments?: string[];
  /** Further modules to load, by name. */
  modules?: string[];
  /** Further files for the image by their path in it. */
  addFiles?: { path: string; content: string | Blob; mode: number }[];
  /** PEM files of certificates for programs on the image: `/etc/ssl/certs/ca-certificates.crt`. */
  caCertificates?: string[];
  /** A name such as `Europe/Berlin`; needs a package `tzdata`. */
  timezone?: string;
  /** Where given, RPM packages must be signed by one of them. */
  rpmKeys?: PublicKeys;
  /** Signs the UEFI program for Secure Boot. */
  secureBoot?: SecureBootSigner;
  /** `none` unless given. */
  compression?: MediumCompression;
  /** Of the machines that start it; `x86_64` unless given. */
  architecture?: Architecture;
  log?: (line: string) => void;
}

export interface BuiltIso {
  path: string;
  size: number;
  sha256: string;
  kernelVersion: string;
}
