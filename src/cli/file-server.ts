/** `vch file-server`: started by the endpoint for each container with bind mounts; of no use to people, so it has no help. */
export { serveFiles } from "../machine/file-server.ts";
