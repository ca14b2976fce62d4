import { runFileServer } from "../share/process.ts";

/** First argument that makes this program a file server: see main.ts. */
export const FILE_SERVER_COMMAND = "file-server";

/** The file server of one container's bind mounts: see src/share/process.ts. */
export const serveFiles = (): Promise<void> => runFileServer();
