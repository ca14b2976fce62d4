import packageDescription from "../../package.json";

declare const VCH_COMMIT: string | undefined;
declare const VCH_BUILT: string | undefined;

/** What was built: version of package.json, commit and its date (given to the compiler with --define), runtime and platform. */
export const BUILD = {
  version: packageDescription.version,
  commit: typeof VCH_COMMIT === "string" ? VCH_COMMIT : "development",
  built: typeof VCH_BUILT === "string" ? VCH_BUILT : "",
  bun: Bun.version,
  platform: `${process.platform}/${process.arch}`,
} as const;
