/** RPM packages, their versions and signatures, and the metadata of their repositories. */
export { type RpmFile, type RpmPackage, readRpm, rpmPackageVersion } from "./reader";
export { type PrimaryPackage, type RepositoryFile, type RpmCapability, readPrimary, readRepomd } from "./repository";
export { verifyRpmSignature } from "./signature";
export { compareRpmText, compareRpmVersions, formatRpmVersion, parseRpmVersion, type RpmVersion } from "./version";
