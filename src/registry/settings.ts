/** How registries are reached; the VCH's configuration gives it, and may change it at any time. */
import { readdirSync, readFileSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import tls from "node:tls";
import { DEFAULT_DOMAIN } from "./reference.ts";
import { RegistryError } from "./registry-error.ts";

export interface RegistrySettings {
  /** `host`, `host:port` or IPv4 CIDR: reached without verifying certificates, and by plain HTTP when TLS fails. */
  insecureRegistries: readonly string[];
  /** Base URLs tried before docker.io itself. */
  mirrors: readonly string[];
  /** When not empty, only these registries (`host[:port]`, `*.example.com`) may be used. */
  allowedRegistries: readonly string[];
  /** Directory with one directory per `host[:port]`, holding `*.crt` (authorities) and `x.cert` + `x.key` (client). */
  certificateDirectory?: string;
  /** Like the environment variables; undefined takes these. */
  proxies?: { http?: string; https?: string; no?: string };
}

export const DEFAULT_SETTINGS: RegistrySettings = { insecureRegistries: [], mirrors: [], allowedRegistries: [] };

/** One place to ask for a repository. */
export interface Endpoint {
  /** `https://host[:port]`, maybe with a path (mirrors). No trailing slash. */
  url: string;
  insecure: boolean;
  /** A mirror gets no credentials. */
  mirror: boolean;
}

/** Where Docker Hub's registry really is. */
const HUB_HOST = "registry-1.docker.io";

function hostName(domain: string): string {
  return domain.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
}

const ipv4Number = (address: string): number =>
  address.split(".").reduce((value, part) => value * 256 + Number(part), 0);

function inCidr(host: string, cidr: string): boolean {
  const [network = "", length = ""] = cidr.split("/");
  if (isIP(host) !== 4 || isIP(network) !== 4 || !/^\d+$/.test(length)) return false;
  const size = 2 ** (32 - Number(length));
  return Math.floor(ipv4Number(host) / size) === Math.floor(ipv4Number(network) / size);
}

/** As dockerd: listed, or on this machine. */
export function isInsecure(domain: string, settings: RegistrySettings): boolean {
  const host = hostName(domain);
  if (host === "localhost" || host === "::1" || inCidr(host, "127.0.0.0/8")) return true;
  return settings.insecureRegistries.some((entry) => entry === domain || entry === host || inCidr(host, entry));
}

/** Throws RegistryError when an allow list does not have the registry. */
export function checkAllowed(domain: string, settings: RegistrySettings): void {
  const matches = (entry: string): boolean =>
    entry === domain ||
    entry === hostName(domain) ||
    (entry.startsWith("*.") && hostName(domain).endsWith(entry.slice(1)));
  if (settings.allowedRegistries.length > 0 && !settings.allowedRegistries.some(matches)) {
    throw new RegistryError(
      "unauthorized",
      `registry ${domain} is not on this container host's list of allowed registries; ask its administrator to add it`,
    );
  }
}

export function endpointsOf(domain: string, settings: RegistrySettings): Endpoint[] {
  const insecure = isInsecure(domain, settings);
  if (domain !== DEFAULT_DOMAIN) {
    const secured = { url: `https://${domain}`, insecure, mirror: false };
    return insecure ? [secured, { url: `http://${domain}`, insecure, mirror: false }] : [secured];
  }
  const mirrors = settings.mirrors.map((mirror) => {
    const url = mirror.replace(/\/+$/, "");
    return { url, insecure: url.startsWith("http://") || isInsecure(new URL(url).host, settings), mirror: true };
  });
  return [...mirrors, { url: `https://${HUB_HOST}`, insecure: false, mirror: false }];
}

export interface TlsOptions {
  rejectUnauthorized?: boolean;
  ca?: string[];
  cert?: string;
  key?: string;
}

/** TLS options for a host, read anew each time so that a changed certificate counts at once. */
export function tlsOptions(host: string, insecure: boolean, settings: RegistrySettings): TlsOptions {
  const options: TlsOptions = insecure ? { rejectUnauthorized: false } : {};
  if (settings.certificateDirectory === undefined) return options;
  const directory = join(settings.certificateDirectory, host);
  const names = listFiles(directory);
  const authorities = names
    .filter((name) => name.endsWith(".crt"))
    .map((name) => readFileSync(join(directory, name), "utf8"));
  if (authorities.length > 0)
    options.ca = [...tls.getCACertificates("system"), ...tls.rootCertificates, ...authorities];
  const certificate = names.find((name) => name.endsWith(".cert"));
  if (certificate !== undefined) {
    const key = certificate.replace(/\.cert$/, ".key");
    if (!names.includes(key)) {
      throw new RegistryError(
        "invalid",
        `missing key ${key} for client certificate ${certificate} of registry ${host}`,
      );
    }
    options.cert = readFileSync(join(directory, certificate), "utf8");
    options.key = readFileSync(join(directory, key), "utf8");
  }
  return options;
}

function listFiles(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR")) return [];
    throw error;
  }
}

/** The proxy for a URL, or undefined. This machine itself is never asked through a proxy, as in dockerd. */
export function proxyFor(url: URL, settings: RegistrySettings): string | undefined {
  const host = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  if (host === "localhost" || host === "::1" || inCidr(host, "127.0.0.0/8")) return undefined;
  const environment = (name: string): string | undefined => process.env[name.toUpperCase()] || process.env[name];
  const proxies = settings.proxies ?? {
    http: environment("http_proxy"),
    https: environment("https_proxy"),
    no: environment("no_proxy"),
  };
  const excluded = (proxies.no ?? "").split(",").some((entry) => {
    const pattern = entry.trim().toLowerCase();
    if (pattern === "") return false;
    if (pattern === "*" || pattern === host || pattern === url.host || inCidr(host, pattern)) return true;
    const suffix = pattern.replace(/^\*?\.?/, ".");
    return host.endsWith(suffix);
  });
  const proxy = url.protocol === "https:" ? proxies.https : proxies.http;
  return excluded || proxy === "" ? undefined : proxy;
}
