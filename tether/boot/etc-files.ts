import { existsSync, readFileSync, writeFileSync } from "node:fs";
import type { ContainerConfiguration } from "../../src/link/guest-configuration.ts";

/** The files under /etc that Docker writes. They live beside the container's content, so that the image's stay as they are. */
export const ETC_FILES = ["hostname", "hosts", "resolv.conf"] as const;

export const hostsText = ({ hostname, domainname, network }: ContainerConfiguration): string => {
  const lines = [
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
    ...network.hosts.map(({ address, names }) => `${address}\t${names.join(" ")}`),
  ];
  const names = domainname === "" ? hostname : `${hostname}.${domainname} ${hostname}`;
  for (const { addresses, hidden } of network.interfaces) {
    if (hidden) continue;
    for (const { address } of addresses) lines.push(`${address}\t${names}`);
  }
  return `${lines.join("\n")}\n`;
};

export const resolvText = ({ network }: ContainerConfiguration): string => {
  const lines = network.nameservers.map((server) => `nameserver ${server}`);
  if (network.search.length > 0) lines.push(`search ${network.search.join(" ")}`);
  if (network.options.length > 0) lines.push(`options ${network.options.join(" ")}`);
  return lines.map((line) => `${line}\n`).join("");
};

const contentsOf = (configuration: ContainerConfiguration): Record<(typeof ETC_FILES)[number], string> => ({
  hostname: `${configuration.hostname}\n`,
  hosts: hostsText(configuration),
  "resolv.conf": resolvText(configuration),
});

/**
 * Changes of a running container's networks: only lines that we wrote go, and only new ones come; what the container added
 * stays. The files are written in place, because they are bind-mounted.
 */
export const updateEtcFiles = (directory: string, configuration: ContainerConfiguration): void => {
  const contents = contentsOf(configuration);
  for (const name of ETC_FILES) {
    const file = `${directory}/${name}`;
    const generated = `${file}.generated`;
    const before = existsSync(generated) ? readFileSync(generated, "utf8") : "";
    if (before === contents[name]) continue;
    const present = existsSync(file) ? readFileSync(file, "utf8") : "";
    const text = present === before ? contents[name] : mergeLines(present, before, contents[name]);
    writeFileSync(file, text, { mode: 0o644 });
    writeFileSync(generated, contents[name], { mode: 0o600 });
  }
};

/** `present` without the lines that only `before` has, and with those that only `after` has. */
export const mergeLines = (present: string, before: string, after: string): string => {
  const lines = (text: string): string[] => text.split("\n").filter((line) => line !== "");
  const old = new Set(lines(before));
  const wanted = new Set(lines(after));
  const kept = lines(present).filter((line) => wanted.has(line) || !old.has(line));
  const added = lines(after).filter((line) => !old.has(line) && !kept.includes(line));
  return [...kept, ...added].map((line) => `${line}\n`).join("");
};

/**
 * Writes the files into `directory`. What the container changed in one survives a restart as long as what we would
 * write is the same as last time.
 */
export const writeEtcFiles = (directory: string, configuration: ContainerConfiguration): void => {
  const contents = contentsOf(configuration);
  for (const name of ETC_FILES) {
    const file = `${directory}/${name}`;
    const generated = `${file}.generated`;
    if (existsSync(file) && existsSync(generated) && readFileSync(generated, "utf8") === contents[name]) continue;
    writeFileSync(file, contents[name], { mode: 0o644 });
    writeFileSync(generated, contents[name], { mode: 0o600 });
  }
};

/** Files to mount, with what an earlier run left in them. */
export const ensureEtcFiles = (directory: string): void => {
  for (const name of ETC_FILES) {
    const file = `${directory}/${name}`;
    if (!existsSync(file)) writeFileSync(file, "", { mode: 0o644 });
  }
};
