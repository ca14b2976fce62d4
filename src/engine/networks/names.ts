/** Names that the bridge network's resolver answers: containers by name, alias, short and full id. */
import type { NameLookup } from "../../network/contract.ts";
import type { ContainerTable } from "../containers/table.ts";
import { shortId } from "../identifiers.ts";

export function nameLookup(table: ContainerTable): NameLookup {
  return (name) => {
    const addresses = table
      .all()
      .filter((container) => container.isRunning)
      .flatMap(({ document }) =>
        Object.values(document.endpoints)
          .filter((endpoint) =>
            [document.name, document.id, shortId(document.id), ...(endpoint.given.Aliases ?? [])].some(
              (known) => known.toLowerCase() === name,
            ),
          )
          .map((endpoint) => endpoint.address),
      );
    return addresses.length > 0 ? addresses : undefined;
  };
}
