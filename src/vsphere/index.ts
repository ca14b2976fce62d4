/** The vSphere driver: everything that the engine knows of a vCenter, an ESXi host or the lab. */
export { connectVSphere } from "./connect.ts";
export * from "./contract.ts";
export { isBelow, joinDatastorePath, parentDirectory, splitDatastorePath } from "./datastore-path.ts";
export { ConnectionError } from "./transport.ts";
