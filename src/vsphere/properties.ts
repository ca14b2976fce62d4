/** Reading properties of many objects at once, page by page. */
import type { Session } from "./session.ts";
import type {
  AnyValue,
  ManagedObjectReference,
  ObjectContent,
  PropertyFilterSpec,
  RetrieveResult,
  TraversalSpec,
} from "./vim25/index.ts";

export interface ObjectProperties {
  reference: ManagedObjectReference;
  values: Map<string, AnyValue>;
}

/** Objects in one answer at most, so that it stays far below the transport's limit; servers may choose less. */
const PAGE_OBJECTS = 1_000;

/** Everything the filter selects. A property that cannot be read is absent. */
export async function retrieve(
  session: Session,
  spec: PropertyFilterSpec,
  { pageObjects = PAGE_OBJECTS }: { pageObjects?: number } = {},
): Promise<ObjectProperties[]> {
  const collector = session.content.propertyCollector;
  const found: ObjectProperties[] = [];
  const add = (objects: readonly ObjectContent[]) => {
    for (const { obj, propSet } of objects) {
      found.push({ reference: obj, values: new Map((propSet ?? []).map(({ name, val }) => [name, val])) });
    }
  };
  let page: RetrieveResult | undefined = await session.call("RetrievePropertiesEx", collector, {
    specSet: [spec],
    options: { maxObjects: pageObjects },
  });
  while (page) {
    add(page.objects);
    if (page.token === undefined) break;
    page = await session.call("ContinueRetrievePropertiesEx", collector, { token: page.token });
  }
  return found;
}

/** Properties of one object; throws ManagedObjectNotFound when it is gone. */
export async function retrieveOne(
  session: Session,
  obj: ManagedObjectReference,
  pathSet: string[],
): Promise<Map<string, AnyValue>> {
  const [found] = await retrieve(session, { propSet: [{ type: obj.type, pathSet }], objectSet: [{ obj }] });
  return found?.values ?? new Map();
}

const VIEW_MEMBERS: TraversalSpec = { _type: "TraversalSpec", type: "ContainerView", path: "view", skip: false };

/** A filter over the members of a container view. */
export function viewFilter(view: ManagedObjectReference, properties: Record<string, string[]>): PropertyFilterSpec {
  return {
    propSet: Object.entries(properties).map(([type, pathSet]) => ({ type, pathSet })),
    objectSet: [{ obj: view, skip: true, selectSet: [VIEW_MEMBERS] }],
  };
}

/** Reads properties of every object of these types below `container`. */
export async function retrieveBelow(
  session: Session,
  container: ManagedObjectReference,
  properties: Record<string, string[]>,
): Promise<ObjectProperties[]> {
  const { viewManager } = session.content;
  if (!viewManager) throw new Error("The server offers no view manager");
  const view = await session.call("CreateContainerView", viewManager, {
    // The schema wants a managed entity here; the server decides which of them are containers.
    container: container as ManagedObjectReference<"Folder">,
    type: Object.keys(properties),
    recursive: true,
  });
  try {
    return await retrieve(session, viewFilter(view, properties));
  } finally {
    // It ends with the session at the latest.
    void session.call("DestroyView", view, {}).catch(() => undefined);
  }
}
