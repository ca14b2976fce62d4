/** The machine's own name servers, as /etc/resolv.conf names them at the moment. */
import { readFileSync, statSync } from "node:fs";
import net from "node:net";

export interface Upstreams {
  /** Addresses in order, without those that would lead back to us. */
  list(): readonly string[];
}

const MAXIMUM_SERVERS = 3;
const MAXIMUM_FILE_BYTES = 64 * 1024;
/** The file is looked at again when a query comes and this much time has passed. */
const CHECK_INTERVAL_MILLISECONDS = 1000;

/** Addresses that resolvers of this process listen on. */
const ownAddresses = new Map<string, number>();

export function registerOwnAddress(address: string): () => void {
  ownAddresses.set(address, (ownAddresses.get(address) ?? 0) + 1);
  return () => {
    const count = (ownAddresses.get(address) ?? 1) - 1;
    if (count === 0) ownAddresses.delete(address);
    else ownAddresses.set(address, count);
  };
}

export function parseNameservers(text: string): string[] {
  const servers: string[] = [];
  for (const line of text.split("\n")) {
    const [keyword, address = ""] = line.trim().split(/\s+/);
    const [plain = ""] = address.split("%");
    if (keyword === "nameserver" && net.isIP(plain) !== 0) servers.push(address);
  }
  return servers.slice(0, MAXIMUM_SERVERS);
}

export function followResolvConf(path: string): Upstreams {
  let servers: string[] = [];
  let version = "";
  let checkedAt = Number.NEGATIVE_INFINITY;
  return {
    list() {
      const now = performance.now();
      if (now - checkedAt >= CHECK_INTERVAL_MILLISECONDS) {
        checkedAt = now;
        try {
          const { ino, mtimeNs, size } = statSync(path, { bigint: true });
          const current = `${ino}.${mtimeNs}.${size}`;
          if (current !== version) {
            servers = parseNameservers(readFileSync(path, "utf8").slice(0, MAXIMUM_FILE_BYTES));
            version = current;
          }
        } catch {
          servers = []; // No file: no name servers, until there is one.
          version = "";
        }
      }
      return servers.filter((server) => !ownAddresses.has(server));
    },
  };
}
