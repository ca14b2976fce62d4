/** PE images, the programs of UEFI: sections read and added, signatures made. */
export { authenticodeDigest, type SecureBootSigner, signPe } from "./authenticode";
export { addPeSections, type PeLayout, type PeSection, peSection, readPe } from "./image";
