/** Log drivers: their options, checked, and what becomes of them in the guest and in `docker logs --details`. */
import { isIP } from "node:net";
import type { LogConfiguration, SyslogConfiguration, SyslogFormat } from "../../link/guest-configuration.ts";
import type { HostConfig } from "../contract.ts";
import { invalid, notImplemented } from "../errors.ts";
import { shortId } from "../identifiers.ts";
import { DEFAULT_LOG_FILES, DEFAULT_LOG_SIZE } from "../limits.ts";
import type { ContainerDocument } from "./document.ts";
import { parseSize } from "./sizes.ts";

type LogConfig = NonNullable<HostConfig["LogConfig"]>;

const ATTRIBUTES = ["labels", "labels-regex", "env", "env-regex", "tag"];
/** Of the log that `docker logs` reads when the driver's own cannot be read. */
const CACHE = ["cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"];
const OPTIONS: Record<string, readonly string[]> = {
  "json-file": ["max-size", "max-file", "compress", "mode", ...ATTRIBUTES],
  local: ["max-size", "max-file", "compress", "mode"],
  none: ["mode"],
  syslog: ["syslog-address", "syslog-facility", "syslog-format", "tag", "mode", ...CACHE],
};
export const LOG_DRIVERS = Object.keys(OPTIONS);

/** RFC 5424, section 6.2.1, by the names of syslog(3). */
const FACILITIES =
  "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp - - - - local0 local1 local2 local3 local4 local5 local6 local7".split(
    " ",
  );
const DEFAULT_FACILITY = "daemon";
const SYSLOG_PORT = 514;
const FORMATS: readonly SyslogFormat[] = ["rfc3164", "rfc5424", "rfc5424micro"];
const LONGEST_TAG = 256;

const driverOf = (log: LogConfig | undefined): string => log?.Type || "json-file";

/** Throws EngineError, with Docker's texts where it has one. */
export function checkLog(log: LogConfig | undefined): void {
  const type = driverOf(log);
  const known = OPTIONS[type];
  if (!known)
    throw notImplemented(
      `log driver ${type} is not supported: output is kept on the container's own disk, and can go to a syslog server. Use ${LOG_DRIVERS.join(", ")}, and collect it with docker logs`,
    );
  const options = log?.Config ?? {};
  for (const [name, value] of Object.entries(options)) {
    // Docker takes the options of every driver that writes for itself.
    if (!known.includes(name)) throw unknownOption(type, name);
    if (/max-size$/.test(name) && !parseSize(value)) throw invalid(`invalid size: '${value}'`);
    if (/max-file$/.test(name) && !/^[1-9]\d{0,2}$/.test(value))
      throw invalid(`${name} cannot be less than 1: ${value}`);
    if (/compress$/.test(name) && value !== "false")
      throw notImplemented(`log opt ${name} is not supported: log files are kept as they are. Leave it out`);
    if (name === "cache-disabled" && !["true", "false"].includes(value)) throw invalid(`invalid ${name}: ${value}`);
    if (name === "mode" && value !== "blocking")
      throw notImplemented("log opt mode is supported only as blocking: no output is dropped. Leave it out");
    if (/-regex$/.test(name)) expression(name, value);
  }
  if (options.tag) checkTag(options.tag);
  if (type === "syslog") syslogTarget(options);
}

function unknownOption(type: string, name: string): Error {
  if (type === "syslog" && /^syslog-tls-|^(labels|env)/.test(name))
    return notImplemented(
      `log opt ${name} is not supported: ${name.startsWith("syslog-tls-") ? "the container's VM has none of the endpoint's certificates; use udp or tcp" : "Docker's syslog messages do not carry it; use tag"}`,
    );
  return invalid(`unknown log opt '${name}' for ${type} log driver`);
}

function expression(name: string, value: string): RegExp {
  try {
    return new RegExp(value);
  } catch (error) {
    throw invalid(`invalid ${name}: ${error instanceof Error ? error.message : error}`);
  }
}

type SyslogTarget = Omit<SyslogConfiguration, "hostname" | "tag">;

function syslogTarget(options: Record<string, string>): SyslogTarget {
  const address = options["syslog-address"];
  if (!address)
    throw notImplemented(
      "log driver syslog needs --log-opt syslog-address=udp://HOST:PORT or tcp://HOST:PORT: a container's VM has no syslog daemon beside it",
    );
  const facility = options["syslog-facility"] || DEFAULT_FACILITY;
  const number = /^\d{1,2}$/.test(facility) ? Number(facility) : FACILITIES.indexOf(facility);
  if (facility === "-" || number < 0 || number >= FACILITIES.length) throw invalid("invalid syslog facility");
  const format = options["syslog-format"];
  if (format && !FORMATS.some((other) => other === format)) throw invalid("Invalid syslog format");
  return { ...parseAddress(address), facility: number, format: (format || "unix") as SyslogFormat };
}

function parseAddress(address: string): Pick<SyslogTarget, "transport" | "host" | "port"> {
  if (/^(unix|unixgram|tcp\+tls):/.test(address))
    throw notImplemented(
      `syslog-address ${address} is not supported: messages are sent by the container's VM, which has neither sockets nor certificates of the endpoint. Use udp://HOST:PORT or tcp://HOST:PORT`,
    );
  const match = /^(udp|tcp):\/\/(?:\[([\da-f:]+)\]|([\w.-]+))(?::(\d{1,5}))?$/i.exec(address);
  const [, transport, six, name, portText] = match ?? [];
  const host = six ?? name;
  const port = Number(portText ?? SYSLOG_PORT);
  if (!transport || !host || port < 1 || port > 65535) throw invalid(`invalid syslog-address ${address}`);
  if (host === "localhost" || (isIP(host) === 4 && host.startsWith("127.")) || host === "::1")
    throw notImplemented(
      `syslog-address ${address} is not supported: ${host} is the container's own VM, where no syslog server runs. Give an address that containers reach`,
    );
  return { transport: transport.toLowerCase() === "tcp" ? "tcp" : "udp", host, port };
}

/** What can stand between `{{` and `}}`. */
const TAG_FIELDS: Record<string, (document: ContainerDocument) => string> = {
  ID: ({ id }) => shortId(id),
  FullID: ({ id }) => id,
  Name: ({ name }) => name,
  ImageID: ({ image }) => shortId(image.id.replace("sha256:", "")),
  ImageFullID: ({ image }) => image.id,
  ImageName: ({ image }) => image.reference,
  Command: ({ command }) => command.join(" "),
  DaemonName: () => "vch",
};
const TAG_PART = /\{\{\s*\.(\w+)\s*\}\}/g;

function checkTag(tag: string): void {
  const rest = tag.replaceAll(TAG_PART, (whole, name: string) => (name in TAG_FIELDS ? "" : whole));
  if (rest.includes("{{"))
    throw notImplemented(
      `log opt tag ${JSON.stringify(tag)} is not supported: between {{ and }} there can be ${Object.keys(TAG_FIELDS)
        .map((name) => `.${name}`)
        .join(", ")}`,
    );
}

const expandTag = (tag: string, document: ContainerDocument): string =>
  tag.replaceAll(TAG_PART, (_, name: string) => TAG_FIELDS[name]?.(document) ?? "").slice(0, LONGEST_TAG);

/** For the guest. `vch` is what messages name as their host. */
export function logConfiguration(document: ContainerDocument, vch: string): LogConfiguration {
  const log = document.hostConfig.LogConfig;
  const options = log?.Config ?? {};
  const type = driverOf(log);
  const size = options[type === "syslog" ? "cache-max-size" : "max-size"];
  const files = options[type === "syslog" ? "cache-max-file" : "max-file"];
  return {
    driver: isReadable(document) ? (type === "local" ? "local" : "json-file") : "none",
    maximumSize: parseSize(size ?? "") ?? DEFAULT_LOG_SIZE,
    maximumFiles: Number(files ?? DEFAULT_LOG_FILES),
    ...(type === "syslog"
      ? {
          syslog: {
            ...syslogTarget(options),
            hostname: vch,
            // A space would end it.
            tag: expandTag(options.tag || "{{.ID}}", document).replaceAll(/\s/g, "_"),
          },
        }
      : {}),
  };
}

/** Whether `docker logs` has something to read. */
export function isReadable({ hostConfig: { LogConfig: log } }: ContainerDocument): boolean {
  return driverOf(log) !== "none" && !(driverOf(log) === "syslog" && log?.Config?.["cache-disabled"] === "true");
}

/** What `docker logs --details` shows with every entry: labels and variables that were asked for, and the tag. */
export function logAttributes(document: ContainerDocument): Record<string, string> {
  const log = document.hostConfig.LogConfig;
  const options = log?.Config ?? {};
  if (driverOf(log) !== "json-file") return {};
  const variables = Object.fromEntries(
    (document.config.Env ?? []).map((entry) => {
      const equals = entry.indexOf("=");
      return [entry.slice(0, equals), entry.slice(equals + 1)];
    }),
  );
  return {
    ...chosen(document.config.Labels ?? {}, options.labels, options["labels-regex"]),
    ...chosen(variables, options.env, options["env-regex"]),
    ...(options.tag ? { tag: expandTag(options.tag, document) } : {}),
  };
}

function chosen(values: Record<string, string>, names = "", pattern = ""): Record<string, string> {
  const wanted = names.split(",");
  const matching = pattern === "" ? undefined : expression("regex", pattern);
  return Object.fromEntries(Object.entries(values).filter(([name]) => wanted.includes(name) || matching?.test(name)));
}
