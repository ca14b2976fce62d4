/** `docker rename`: the VM's name, notes and document change in one reconfigure. */
import type { EngineContext } from "../context.ts";
import { conflict, invalid } from "../errors.ts";
import { virtualMachineName } from "../identifiers.ts";
import type { Container } from "./container.ts";
import { publishContainer } from "./container-events.ts";
import { annotation } from "./create.ts";
import { documentChunks, encodeDocument } from "./document.ts";
import { writeEntries } from "./stored-entries.ts";

export async function renameContainer(context: EngineContext, container: Container, wanted: string): Promise<void> {
  if (wanted === "" || wanted === "/") throw invalid("Neither old nor new names may be empty");
  await container.queue.run(async () => {
    if (wanted.replace(/^\//, "") === container.name)
      throw invalid("Renaming a container with the same name as its current name");
    await container.finishing;
    if (container.status === "removing" || container.status === "dead")
      throw conflict(`container ${container.id} is marked for removal`);
    const oldName = container.name;
    const name = context.table.reserveName(container.id, wanted);
    const document = { ...container.document, name };
    try {
      await writeEntries(context, container, encodeDocument(document, documentChunks(container.stored)), {
        name: virtualMachineName(name, container.id),
        annotation: annotation(context.name, document),
      });
    } catch (error) {
      context.table.releaseName(container.id, name);
      throw error;
    }
    container.document = document;
    context.table.releaseName(container.id, oldName);
    publishContainer(context.events, container, "rename", { oldName: `/${oldName}` });
  });
}
