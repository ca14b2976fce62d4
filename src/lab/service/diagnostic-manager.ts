import { LabFault } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import { data, type Reference } from "../model/data.ts";
import { ManagedObject } from "../model/managed-object.ts";
import { LogBook } from "./log-book.ts";

/** Lines in one reply, as of ESXi. */
const PAGE_LIMIT = 1000;

/** The lab's own log under the name that the product's main log has. */
export class DiagnosticManager extends ManagedObject {
  constructor(context: LabContext, reference: Reference) {
    super(context.registry, reference);
    const keys = context.naming.personality === "VirtualCenter" ? ["vpxd:vpxd.log", "hostd"] : ["hostd"];
    this.methods({
      QueryDescriptions: () =>
        keys.map((key) =>
          data("DiagnosticManagerLogDescriptor", {
            key,
            fileName: "lab.log",
            creator: "vch lab",
            format: "plain",
            mimeType: "text/plain",
            info: data("Description", { label: key, summary: "Log of the lab" }),
          }),
        ),
      BrowseDiagnosticLog: (p) => {
        const key = p.key as string;
        if (!keys.includes(key)) {
          throw new LabFault("CannotAccessFile", `There is no log '${key}'; see QueryDescriptions.`, { file: key });
        }
        const { logBook } = context;
        const wanted = Math.min((p.lines as number | undefined) ?? PAGE_LIMIT, PAGE_LIMIT);
        const from = Math.min((p.start as number | undefined) ?? 1, logBook.end + 1);
        const lines = logBook.read(from, Math.max(wanted, 0));
        return data("DiagnosticManagerLogHeader", {
          lineStart: from,
          lineEnd: from + lines.length,
          lineText: lines,
        });
      },
    });
  }
}

export { LogBook };
