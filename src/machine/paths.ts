import { join, resolve } from "node:path";

/** Where a VCH on this machine keeps everything; the environment variable VCH_STATE or `--state` moves it. */
export const DEFAULT_STATE_DIRECTORY = "/var/lib/vch";

/** Longest unix socket path that Linux takes (sockaddr_un.sun_path, 108 bytes with the final NUL). */
const SOCKET_PATH_LIMIT = 107;

/** All files and folders of one VCH below its state directory. */
export interface StatePaths {
  readonly root: string;
  /** Settings of the endpoint, with the password of the vSphere target; mode 0600. */
  readonly settings: string;
  /** Certificate authority and what it issued. */
  readonly authority: string;
  /** DOCKER_CERT_PATH: ca.pem, cert.pem, key.pem. */
  readonly clientCertificates: string;
  readonly iso: string;
  /** Distribution packages that bootstrap ISOs are made of. */
  readonly packages: string;
  readonly lab: string;
  readonly datastore: string;
  /** Files of `docker build` on their way into layers. */
  readonly build: string;
  readonly run: string;
  readonly socket: string;
  /** Between the endpoint's concentrator of serial ports and its control link. */
  readonly linkSocket: string;
  readonly logs: string;
}

/** Lays out the state directory; throws when the unix socket's path would be too long for Linux. */
export function statePaths(directory: string): StatePaths {
  const root = resolve(directory);
  const socket = join(root, "run", "docker.sock");
  if (Buffer.byteLength(socket) > SOCKET_PATH_LIMIT)
    throw new Error(
      `State directory ${root}: the socket path ${socket} is longer than ${SOCKET_PATH_LIMIT} bytes. Choose a shorter --state.`,
    );
  return {
    root,
    settings: join(root, "endpoint.json"),
    authority: join(root, "ca"),
    clientCertificates: join(root, "ca", "client"),
    iso: join(root, "iso", "bootstrap.iso"),
    packages: join(root, "packages"),
    lab: join(root, "lab"),
    datastore: join(root, "lab", "datastore1"),
    build: join(root, "build"),
    run: join(root, "run"),
    socket,
    linkSocket: join(root, "run", "link.sock"),
    logs: join(root, "logs"),
  };
}
