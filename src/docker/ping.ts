/**
 * `/_ping`, which clients ask before every command: always the same, so it is answered without the application. Paths that are
 * not quite it (another method, a version that is not served) go on to the application, which refuses them in words.
 */
import { MAXIMUM_API_VERSION, MINIMUM_API_VERSION, versionText } from "./api-version.ts";
import type { ApiInfo } from "./environment.ts";
import type { ReadyAnswers } from "./http/connection.ts";
import type { ReadyAnswer } from "./http/response-writer.ts";

const PING = /^(?:\/v1\.(\d{2}))?\/_ping(?:\?|$)/;

export function pingAnswers({ version }: ApiInfo): ReadyAnswers {
  const answer: ReadyAnswer = {
    headers: [
      ["Api-Version", versionText(MAXIMUM_API_VERSION)],
      // Without BuildKit the classic builder is what clients must assume; /build then says what to do instead.
      ["Builder-Version", "1"],
      ["Cache-Control", "no-cache, no-store, must-revalidate"],
      ["Content-Type", "text/plain; charset=utf-8"],
      ["Docker-Experimental", "false"],
      ["Ostype", "linux"],
      ["Pragma", "no-cache"],
      ["Server", `Docker/${version} (linux)`],
      ["Swarm", "inactive"],
    ],
    body: "OK",
  };
  return (method, target) => {
    if (method !== "GET" && method !== "HEAD") return undefined;
    const path = PING.exec(target);
    if (path === null) return undefined;
    const minor = path[1] === undefined ? MAXIMUM_API_VERSION : Number(path[1]);
    return minor < MINIMUM_API_VERSION || minor > MAXIMUM_API_VERSION ? undefined : answer;
  };
}
