/**
 * The tether's DHCP client as a program, for a network namespace: `bun dhcp-client.ts INTERFACE MAC [LEASE-FILE]`. It tells each lease
 * as a line of JSON and releases at SIGTERM.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { DhcpClient } from "../../tether/network/dhcp/client.ts";
import { PacketLink } from "../../tether/network/dhcp/link.ts";

const [interfaceName = "", hardwareAddress = "", file] = process.argv.slice(2);
/** What the tether does with ioctls: a renewal is answered to the address. */
const setAddress = ({ address, prefixLength }: { address: string; prefixLength: number }): void => {
  Bun.spawnSync(["ip", "addr", "replace", `${address}/${prefixLength}`, "dev", interfaceName]);
};
const tell = (event: string, value: object = {}): void => console.log(JSON.stringify({ event, ...value }));
const client = new DhcpClient({
  hardwareAddress,
  hostName: "unit",
  open: (transaction) => new PacketLink(interfaceName, transaction),
  ...(file !== undefined && existsSync(file) ? { earlier: JSON.parse(readFileSync(file, "utf8")) } : {}),
  onChange: (lease) => tell(lease ? "changed" : "lost", lease),
  onKept: (lease) => {
    tell("kept", { address: lease.address });
    if (file !== undefined) writeFileSync(file, JSON.stringify(lease));
  },
  log: (message) => tell("log", { message }),
});
process.on("SIGTERM", () => {
  client.release();
  tell("released");
  process.exit(0);
});
try {
  const lease = await client.acquire(Number(process.env.VCH_TEST_LIMIT ?? 15_000));
  setAddress(lease);
  tell("acquired", lease);
} catch (error) {
  tell("failed", { message: error instanceof Error ? error.message : String(error) });
  process.exit(1);
}
