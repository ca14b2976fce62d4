/**
 * VMware's telnet extension for serial ports, telnet option 232: what a host tells a virtual serial port concentrator of the VM,
 * and how a connection is handed over when the VM moves to another host (vMotion). "VM" is the host's side below. Published by
 * VMware as "telnet extensions for virtual serial port proxies"; see also "Using a Proxy with Virtual Serial Ports" in the
 * vSphere documentation.
 */
import { FormatError } from "../format-error.ts";
import { encodeSubnegotiation, TELNET_OPTION } from "./telnet.ts";

export const SUBOPTION = {
  /** VM: which suboptions it knows, one byte each. */
  knownByVm: 0,
  knownByProxy: 1,
  unknownToProxy: 2,
  unknownToVm: 3,
  /** VM, on the old connection: it is about to move. Carries a sequence that names the move. */
  vmotionBegin: 40,
  /** Proxy: go ahead. The sequence, and behind it a secret that the new connection has to show. */
  vmotionGoAhead: 41,
  /** Proxy: not now. The sequence, and a secret that means nothing. */
  vmotionNotNow: 43,
  /** VM, on the new connection: sequence and secret. */
  vmotionPeer: 44,
  /** Proxy: it is the peer. Sequence and secret. */
  vmotionPeerOk: 45,
  /** VM, on the new connection: the move is done. The sequence. */
  vmotionComplete: 46,
  /** VM, on either connection: the move was given up. */
  vmotionAbort: 48,
  /** VM: a direction (`C` or `S`) and the service URI of the port. */
  doProxy: 70,
  willProxy: 71,
  wontProxy: 73,
  vmVcUuid: 80,
  getVmVcUuid: 81,
  vmName: 82,
  getVmName: 83,
  vmBiosUuid: 84,
  getVmBiosUuid: 85,
  vmLocationUuid: 86,
  getVmLocationUuid: 87,
} as const;

export type Suboption = (typeof SUBOPTION)[keyof typeof SUBOPTION];

const SUBOPTIONS: ReadonlySet<number> = new Set(Object.values(SUBOPTION));
export const isSuboption = (value: number): value is Suboption => SUBOPTIONS.has(value);
export const ALL_SUBOPTIONS: readonly Suboption[] = Object.values(SUBOPTION);

/** Longest sequence of a move, and longest sequence and secret together. */
export const SEQUENCE_LIMIT = 64;
export const COOKIE_LIMIT = 128;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

export const encodeSuboption = (suboption: Suboption, payload: Uint8Array | string = new Uint8Array(0)): Uint8Array =>
  encodeSubnegotiation(
    TELNET_OPTION.vmwareExtension,
    Uint8Array.of(suboption, ...(typeof payload === "string" ? encoder.encode(payload) : payload)),
  );

/** What a subnegotiation of option 232 carries; `known` is false for a suboption of a later version. */
export const parseSuboption = (
  bytes: Uint8Array,
): { known: true; suboption: Suboption; payload: Uint8Array } | { known: false; suboption: number } => {
  const [suboption] = bytes;
  if (suboption === undefined) throw new FormatError("telnet", "empty VMware suboption");
  return isSuboption(suboption) ? { known: true, suboption, payload: bytes.slice(1) } : { known: false, suboption };
};

export const suboptionText = (payload: Uint8Array): string => {
  try {
    return decoder.decode(payload);
  } catch {
    throw new FormatError("telnet", "VMware suboption is not UTF-8");
  }
};

/** A UUID as hosts send it: hexadecimal digits with spaces and a dash between. Lower case with dashes, or a FormatError. */
export const suboptionUuid = (payload: Uint8Array): string => {
  const digits = suboptionText(payload).replace(/[\s-]/g, "").toLowerCase();
  const match = /^([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})$/.exec(digits);
  if (match === null) throw new FormatError("telnet", "malformed UUID in a VMware suboption");
  return match.slice(1).join("-");
};

/** The way hosts write a UUID: `42 1e 6d … -…`. */
export const hostUuid = (uuid: string): string => {
  const pairs = uuid.replaceAll("-", "").match(/../g) ?? [];
  if (pairs.length !== 16) throw new FormatError("telnet", `${JSON.stringify(uuid)} is no UUID`);
  return `${pairs.slice(0, 8).join(" ")}-${pairs.slice(8).join(" ")}`;
};

/** DO-PROXY: who opens the service's connection, and its URI. */
export const encodeProxyRequest = (direction: "client" | "server", uri: string): Uint8Array =>
  encodeSuboption(SUBOPTION.doProxy, `${direction === "client" ? "C" : "S"}${uri}`);

export const parseProxyRequest = (payload: Uint8Array): { direction: "client" | "server"; uri: string } => {
  const text = suboptionText(payload);
  if (text[0] !== "C" && text[0] !== "S") throw new FormatError("telnet", "DO-PROXY without a direction");
  return { direction: text[0] === "C" ? "client" : "server", uri: text.slice(1) };
};
