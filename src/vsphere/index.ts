/** The vSphere driver: everything that the engine knows of a vCenter, an ESXi host or the lab. */
export { connectVSphere } from "./connect.ts";
export * from "./contract.ts";
export { isBelow, joinDatastorePath, parentDirectory, splitDatastorePath } from "./datastore-path.ts";
export * from "./operations.ts";
export { checkTarget, type TargetCheck } from "./target-checks.ts";
export { ConnectionError } from "./transport.ts";
