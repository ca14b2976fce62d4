/** Search as `docker search` does it: the version 1 search API, which Docker Hub and a few other registries serve. */
import { basicAuthorization, type Credentials } from "./authorization.ts";
import { RegistryError } from "./registry-error.ts";
import { checkAllowed, endpointsOf, type RegistrySettings } from "./settings.ts";
import { readBody, send } from "./transport.ts";

export interface SearchResult {
  name: string;
  description: string;
  star_count: number;
  is_official: boolean;
  is_automated: boolean;
}

/** Where Docker Hub searches. */
const HUB_SEARCH = "index.docker.io";
const HUB = "docker.io";
const ANSWER_LIMIT_BYTES = 4 * 1024 * 1024;
const RESULT_LIMIT = 100;

/** `registry.example.com:5000/term` searches that registry. */
function splitTerm(term: string): { domain: string; words: string } {
  const slash = term.indexOf("/");
  const first = term.slice(0, slash);
  const isHost = slash > 0 && (first.includes(".") || first.includes(":") || first === "localhost");
  if (!isHost || first === HUB || first === HUB_SEARCH)
    return { domain: HUB, words: isHost ? term.slice(slash + 1) : term };
  return { domain: first, words: term.slice(slash + 1) };
}

export async function searchRegistry(
  term: string,
  limit: number,
  credentials: Credentials | undefined,
  settings: RegistrySettings,
  userAgent: string,
  signal: AbortSignal,
): Promise<SearchResult[]> {
  const { domain, words } = splitTerm(term);
  checkAllowed(domain, settings);
  const endpoints =
    domain === HUB
      ? [{ url: `https://${HUB_SEARCH}`, insecure: false }]
      : endpointsOf(domain, settings).filter(({ mirror }) => !mirror);
  const headers: Record<string, string> = { Accept: "application/json" };
  if (credentials?.username) headers.Authorization = basicAuthorization(credentials);
  let failure: unknown;
  for (const { url, insecure } of endpoints) {
    try {
      const query = new URLSearchParams({ q: words.replace(/^library\//, ""), n: String(limit) });
      const response = await send(`${url}/v1/search?${query}`, { headers, insecure, signal }, settings, userAgent);
      if (response.status === 404) {
        await response.body?.cancel();
        throw new RegistryError(
          "unsupported",
          `registry ${domain} has no search: only Docker Hub and registries with the version 1 search API can be searched; list a registry's repositories with its own tools (skopeo list-tags, its web page)`,
        );
      }
      if (!response.ok) {
        await response.body?.cancel();
        throw new RegistryError("unavailable", `Unexpected status code ${response.status}`);
      }
      return parseResults(await readBody(response, ANSWER_LIMIT_BYTES, "the search result"));
    } catch (error) {
      signal.throwIfAborted();
      // Plain HTTP comes second for a registry on this machine; what TLS said is told when that fails too.
      failure = error instanceof RegistryError && error.code === "unsupported" ? error : (failure ?? error);
      if (!(error instanceof RegistryError && error.code === "unavailable")) throw error;
    }
  }
  throw failure;
}

function parseResults(bytes: Uint8Array): SearchResult[] {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new RegistryError("invalid", "the registry's search result is not JSON", { cause });
  }
  const results = (document as { results?: unknown } | null)?.results;
  if (!Array.isArray(results)) throw new RegistryError("invalid", "the registry's search result has no results");
  return results.slice(0, RESULT_LIMIT).flatMap((entry: Record<string, unknown> | null) => {
    if (typeof entry?.name !== "string") return [];
    return [
      {
        name: entry.name,
        description: typeof entry.description === "string" ? entry.description : "",
        star_count: typeof entry.star_count === "number" ? entry.star_count : 0,
        is_official: entry.is_official === true,
        // Docker Hub stopped automated builds; engines answer false since API 1.44.
        is_automated: false,
      },
    ];
  });
}
