import {
  CONFIGURATION_CHUNK_LIMIT,
  CONFIGURATION_CHUNKS_KEY,
  CONFIGURATION_LIMIT,
  configurationChunkKey,
  type GuestConfiguration,
  type GuestState,
  STATE_LIMIT,
} from "./guest-configuration.ts";

/** Longest configuration document after decompression, in bytes. */
export const CONFIGURATION_TEXT_LIMIT = 8 * 1024 * 1024;
const MOST_CHUNKS = Math.ceil(CONFIGURATION_LIMIT / CONFIGURATION_CHUNK_LIMIT);

/** The guestinfo keys and values that carry a configuration. Throws when it is longer than a VM can carry. */
export const encodeConfiguration = (configuration: GuestConfiguration): Record<string, string> => {
  const text = Buffer.from(JSON.stringify(configuration));
  const packed = Buffer.from(Bun.gzipSync(text, { level: 6 })).toString("base64");
  if (text.length > CONFIGURATION_TEXT_LIMIT || packed.length > CONFIGURATION_LIMIT) {
    throw new Error(
      `the container's configuration is too long: ${packed.length} characters compressed, at most ${CONFIGURATION_LIMIT}; shorten the environment or command line`,
    );
  }
  const count = Math.ceil(packed.length / CONFIGURATION_CHUNK_LIMIT);
  const values: Record<string, string> = { [CONFIGURATION_CHUNKS_KEY]: String(count) };
  for (let index = 0; index < count; index++) {
    const start = index * CONFIGURATION_CHUNK_LIMIT;
    values[configurationChunkKey(index)] = packed.slice(start, start + CONFIGURATION_CHUNK_LIMIT);
  }
  return values;
};

/** Reads a configuration back through `get`. Throws when it is missing, damaged or of another version. */
export const decodeConfiguration = async (
  get: (key: string) => Promise<string | undefined> | string | undefined,
): Promise<GuestConfiguration> => {
  const count = Number(await get(CONFIGURATION_CHUNKS_KEY));
  if (!Number.isInteger(count) || count < 1 || count > MOST_CHUNKS) throw new Error("no configuration in guestinfo");
  let packed = "";
  for (let index = 0; index < count; index++) {
    const chunk = await get(configurationChunkKey(index));
    if (chunk === undefined || chunk.length > CONFIGURATION_CHUNK_LIMIT) {
      throw new Error(`configuration chunk ${index} of ${count} is missing or too long`);
    }
    packed += chunk;
  }
  const configuration: unknown = JSON.parse(new TextDecoder().decode(unpack(packed)));
  if (typeof configuration !== "object" || configuration === null || !("version" in configuration)) {
    throw new Error("the configuration is not a document of ours");
  }
  if (configuration.version !== 1) {
    throw new Error(`configuration version ${configuration.version} is unknown; the boot medium is too old`);
  }
  return configuration as GuestConfiguration;
};

const unpack = (packed: string): Uint8Array => {
  const bytes = Buffer.from(packed, "base64");
  // The last four bytes of gzip are the plain length: checked first, so that nothing large is unpacked by mistake.
  if (bytes.length < 18 || bytes.readUInt32LE(bytes.length - 4) > CONFIGURATION_TEXT_LIMIT) {
    throw new Error("the configuration is damaged or too long");
  }
  return Bun.gunzipSync(bytes);
};

/** The state as one guestinfo value; an over-long error message is cut rather than the report lost. */
export const encodeState = (state: GuestState): string => {
  const text = JSON.stringify(state);
  if (text.length <= STATE_LIMIT) return text;
  const { addresses: _addresses, phases: _phases, ...short } = state;
  return JSON.stringify({ ...short, error: state.error?.slice(0, 500) });
};

/** Reads what a guest reported. Guests are hostile: returns undefined for anything that is no state. */
export const decodeState = (text: string): GuestState | undefined => {
  if (text.length > STATE_LIMIT) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  return isGuestState(value) ? value : undefined;
};

/** More than a VM has network adapters. */
const LEASE_LIMIT = 10;
const STATUSES: ReadonlySet<unknown> = new Set(["booting", "running", "restarting", "exited", "failed", "ready"]);

const isGuestState = (value: unknown): value is GuestState => {
  if (typeof value !== "object" || value === null) return false;
  const state = value as Record<string, unknown>;
  const optional = (key: string, type: string): boolean => state[key] === undefined || typeof state[key] === type;
  return (
    state.version === 1 &&
    typeof state.boot === "string" &&
    STATUSES.has(state.status) &&
    optional("pid", "number") &&
    optional("startedAt", "string") &&
    optional("finishedAt", "string") &&
    optional("exitCode", "number") &&
    optional("oomKilled", "boolean") &&
    optional("error", "string") &&
    optional("restartCount", "number") &&
    optional("health", "object") &&
    optional("paused", "boolean") &&
    optional("stopped", "boolean") &&
    optional("phases", "object") &&
    (state.addresses === undefined || Array.isArray(state.addresses)) &&
    (state.leases === undefined || (Array.isArray(state.leases) && state.leases.length <= LEASE_LIMIT))
  );
};
