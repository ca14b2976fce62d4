import type { Context } from "hono";
import type { Engine } from "../engine/contract.ts";
import type { ApiVersion } from "./api-version.ts";
import type { Exchange } from "./http/exchange.ts";

/** Hono's environment for every route: what the HTTP front passes in, and what the version middleware sets. */
export interface ApiEnvironment {
  Bindings: { exchange: Exchange };
  Variables: { apiVersion: ApiVersion };
}

export type ApiContext<Path extends string = string> = Context<ApiEnvironment, Path>;

/** What the API layer says about the product it fronts. */
export interface ApiInfo {
  /** Product name for `docker version`, for example "vch". */
  product: string;
  /** Product version: Server header, `docker version`. */
  version: string;
}

/** Structured log line. Never given request bodies, credentials or environment values. */
export type ApiLog = (level: "info" | "warn" | "error", message: string, fields: Record<string, unknown>) => void;

export interface RouterOptions {
  engine: Engine;
  apiInfo: ApiInfo;
  log: ApiLog;
}
