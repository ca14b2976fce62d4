/** What of the endpoint's machine containers may mount. */
export interface BindSettings {
  /** Directories that may be mounted, with everything below; `any` path; or none. */
  roots: readonly string[] | "any";
  /** The endpoint's own API: what a bind of a Docker socket leads to. */
  dockerSocket: string;
  /** Command of the file server: see src/share/process.ts. */
  fileServer: readonly string[];
}

/** Of an engine that was given none. */
export const NO_BINDS: BindSettings = { roots: [], dockerSocket: "", fileServer: [] };
