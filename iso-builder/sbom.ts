import type { Manifest, ManifestPackage } from "./manifest";

/**
 * The software on an image as a CycloneDX 1.5 document: kernel, packages and tether with their digests. Without time and
 * random number, so that the same image gives the same document.
 */
export function cycloneDx(manifest: Manifest, mediumId: string): Record<string, unknown> {
  const packages = [...(manifest.kernel.package === undefined ? [] : [manifest.kernel.package]), ...manifest.packages];
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    serialNumber: `urn:uuid:${uuidOf(mediumId)}`,
    version: 1,
    metadata: {
      component: {
        type: "operating-system",
        "bom-ref": "vch-bootstrap",
        name: "vch-bootstrap",
        version: mediumId.slice(0, 16),
        hashes: [{ alg: "SHA-256", content: mediumId }],
      },
    },
    components: [
      {
        type: "operating-system",
        "bom-ref": "kernel",
        name: "linux",
        version: manifest.kernel.version,
        hashes: [{ alg: "SHA-256", content: manifest.kernel.sha256 }],
      },
      {
        type: "application",
        "bom-ref": "tether",
        name: "vch-tether",
        version: manifest.tether.version,
        hashes: [{ alg: "SHA-256", content: manifest.tether.sha256 }],
      },
      ...packages.map((one) => ({
        type: "library",
        "bom-ref": packageUrl(one),
        name: one.name,
        version: one.version,
        purl: packageUrl(one),
        hashes: [{ alg: "SHA-256", content: one.sha256 }],
      })),
    ],
  };
}

/** https://github.com/package-url/purl-spec: `pkg:deb/debian/NAME@VERSION?arch=ARCH` */
function packageUrl({ kind, name, version, architecture }: ManifestPackage): string {
  const distribution = kind === "deb" ? "debian" : "photon";
  return `pkg:${kind}/${distribution}/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${architecture}`;
}

/** A UUID (version 8, custom) out of a digest. */
function uuidOf(digest: string): string {
  const hex = `${digest.slice(0, 12)}8${digest.slice(13, 16)}8${digest.slice(17, 32)}`;
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
