/** The image store: the engine's `Images` for the Docker API, and `ImageStore` for containers. */
import { createRegistryClient, type RegistryClient } from "../../registry/client.ts";
import { digestOf } from "../../registry/digest.ts";
import type { Platform } from "../../registry/manifest.ts";
import { familiarString, withDefaultTag } from "../../registry/reference.ts";
import type { RegistrySettings } from "../../registry/settings.ts";
import type { DatastoreFiles, DatastorePath } from "../../vsphere/contract.ts";
import type { Images, ProgressSink, RegistryCredentials } from "../contract.ts";
import { EngineError, invalid, notFound } from "../errors.ts";
import type { LoaderPool } from "../loader/contract.ts";
import type { UntilDone } from "../until-done.ts";
import { addLayer } from "./add-layer.ts";
import { makeBuildSteps } from "./build-steps.ts";
import { Catalog, type CatalogImage } from "./catalog.ts";
import type { BuildSteps, ImageStore, ImageUsage, StoredImage } from "./contract.ts";
import { imageHistory, inspectImage, listImages } from "./describe.ts";
import { DiskStore } from "./disk-store.ts";
import { downloaded, importImage } from "./import.ts";
import { imageLayout } from "./layout.ts";
import { loadImages } from "./load.ts";
import { combineImageName, findImage, parseImageName, setName } from "./names.ts";
import { checkPlatform } from "./platform.ts";
import { type PullRequest, pullImage } from "./pull.ts";
import { pushImages, refuseDigest } from "./push.ts";
import { engineError } from "./registry-errors.ts";
import { collectHidden, pruneImages, type RemoveContext, removeImage } from "./remove.ts";
import { saveImages } from "./save.ts";
import { searchImages } from "./search.ts";
import { SharedWork } from "./shared-work.ts";

/** Capacity of a base image disk, and so the least capacity of a container's root. Thin: takes only what is written. */
export const DEFAULT_DISK_CAPACITY_BYTES = 8 * 1024 ** 3;

/** An image event, as `docker events` shows it. */
export interface ImageEvent {
  action: "pull" | "push" | "save" | "load" | "import" | "tag" | "untag" | "delete" | "prune";
  /** Image id, or for a pull the name as asked for (as in dockerd). */
  id: string;
  attributes: Record<string, string>;
}

export interface ImagesOptions {
  files: DatastoreFiles;
  loaders: LoaderPool;
  untilDone: UntilDone;
  usage: ImageUsage;
  /** Asked at each use, so that changed settings count at once. */
  registries: () => RegistrySettings;
  publish: (event: ImageEvent) => void;
  /** Directory of the store on the datastore. */
  root: DatastorePath;
  /** What the container host runs, for example linux/amd64. */
  platform: Platform;
  userAgent?: string;
  diskCapacityBytes?: number;
  log: (message: string) => void;
}

export interface ImageService {
  store: ImageStore;
  images: Images;
  steps: BuildSteps;
  /** For `docker login`. */
  authenticate(credentials: RegistryCredentials): Promise<{ Status: string; IdentityToken?: string }>;
  /** Call when containers were removed: images that went by force while containers used them are let go. */
  collect(): Promise<void>;
  /** Bytes of file content in all image disks, each counted once (docker system df). */
  layersSize(): number;
}

export async function createImages(options: ImagesOptions): Promise<ImageService> {
  const catalog = new Catalog(options.files, imageLayout(options.root), options.untilDone, options.log);
  await catalog.load();
  const disks = new DiskStore(catalog, options.loaders, options.diskCapacityBytes ?? DEFAULT_DISK_CAPACITY_BYTES);
  const registry: RegistryClient = createRegistryClient({
    settings: options.registries,
    userAgent: options.userAgent ?? "vch",
  });
  const held = new Map<string, number>();
  const pulls = new SharedWork();
  const { platform } = options;

  const labelsOf = (image: CatalogImage): Record<string, string> => image.configuration.config.Labels ?? {};
  const publish = (action: ImageEvent["action"], id: string, name: string, labels: Record<string, string> = {}): void =>
    options.publish({ action, id, attributes: { ...labels, name } });
  const removal: RemoveContext = {
    catalog,
    disks,
    usage: options.usage,
    isHeld: (id) => held.has(id),
    publish: (action, id, name) => publish(action, id, name),
  };

  // Removing looks at what is used and then deletes: one removal at a time, so that two cannot take each other's parents.
  let removals: Promise<unknown> = Promise.resolve();
  function exclusively<T>(work: () => Promise<T>): Promise<T> {
    const result = removals.then(work);
    removals = result.catch(() => undefined);
    return result;
  }

  const store: ImageStore = {
    async resolve(reference) {
      const { image } = findImage(catalog, reference);
      return storedImage(catalog, image);
    },
    diskOf(imageId) {
      const image = catalog.images.get(imageId);
      if (image === undefined) throw notFound(`No such image: ${imageId}`);
      return storedImage(catalog, image).disk.path;
    },
    async addLayer({ repository, tag, ...layer }) {
      const reference = nameOf(repository, tag);
      const id = await addLayer({ catalog, disks, platform }, { ...layer, reference }, new AbortController().signal);
      return reference === undefined ? { id } : { id, reference: familiarString(reference) };
    },
    hold(imageId) {
      held.set(imageId, (held.get(imageId) ?? 0) + 1);
      let open = true;
      return () => {
        if (!open) return;
        open = false;
        const users = (held.get(imageId) ?? 1) - 1;
        if (users === 0) held.delete(imageId);
        else held.set(imageId, users);
      };
    },
  };

  function nameOf(repository: string | undefined, tag: string | undefined) {
    const reference = repository ? withDefaultTag(combineImageName(repository, tag)) : undefined;
    if (reference?.digest !== undefined) throw invalid("cannot name an image by its digest");
    return reference;
  }

  async function pullOne(request: PullRequest, progress: ProgressSink, signal: AbortSignal): Promise<void> {
    const name = familiarString(request.reference);
    const key = digestOf(JSON.stringify([name, request.platform ?? "", request.credentials ?? {}]));
    await pulls.run(key, progress, signal, async (sharedProgress, sharedSignal) => {
      const id = await pullImage({ catalog, disks, registry, platform }, request, sharedProgress, sharedSignal);
      const image = catalog.images.get(id);
      publish("pull", name, name, image && labelsOf(image));
    });
  }

  const images: Images = {
    async pull(name, { tag, platform: wanted, credentials, progress, signal }) {
      // `docker pull --all-tags` sends no tag, and may leave the colon.
      const named = combineImageName(name.replace(/:$/, ""), tag);
      const allTags = named.tag === undefined && named.digest === undefined;
      const references = allTags
        ? (await registry.tags(named, credentials, signal).catch(throwEngineError)).map((each) => ({
            ...named,
            tag: each,
          }))
        : [named];
      if (references.length === 0) throw notFound(`manifest for ${familiarString(named)} not found: it has no tags`);
      for (const reference of references) await pullOne({ reference, platform: wanted, credentials }, progress, signal);
    },
    async load(tar, loadOptions) {
      for (const id of await loadImages({ catalog, disks, platform }, tar, loadOptions)) publish("load", id, id);
    },
    async push(repository, { tag, platform: wanted, credentials, progress, signal }) {
      const reference = combineImageName(repository, tag);
      refuseDigest(reference);
      const pushed = await pushImages(
        { catalog, registry },
        { reference, platform: wanted, credentials },
        progress,
        signal,
      );
      for (const each of pushed) {
        const name = familiarString(each.reference);
        const image = catalog.images.get(each.id);
        publish("push", name, name, image && labelsOf(image));
      }
    },
    async save(names, { platform: wanted }) {
      const { ids, archive } = await saveImages(catalog, names, wanted);
      for (const id of ids) publish("save", id, id);
      return archive;
    },
    search: (term, searchOptions) => searchImages(registry, term, searchOptions),
    async distribution(name, { credentials, signal }) {
      const reference = withDefaultTag(parseImageName(name));
      const { descriptor, platforms } = await registry.describe(reference, credentials, signal).catch(throwEngineError);
      return {
        Descriptor: descriptor,
        Platforms: platforms.map(({ os, architecture, variant }) => ({
          architecture,
          os,
          ...(variant === undefined ? {} : { variant }),
        })),
      };
    },
    async import(source, { repository, tag, message, changes, platform: wanted, progress, signal }) {
      const tar = "url" in source ? await downloaded(source.url, progress, signal) : source;
      const reference = repository ? withDefaultTag(combineImageName(repository, tag)) : undefined;
      if (reference?.digest !== undefined) throw invalid("cannot import digest reference");
      const request = { reference, message, changes, platform: wanted };
      const id = await importImage({ catalog, disks, platform }, tar, request, progress, signal);
      publish("import", id, reference === undefined ? id : familiarString(reference));
    },
    async list(listOptions) {
      return listImages(catalog, options.usage, listOptions);
    },
    async inspect(reference, inspectOptions) {
      return inspectImage(catalog, reference, inspectOptions?.platform);
    },
    async history(reference, historyOptions) {
      return imageHistory(catalog, reference, historyOptions?.platform);
    },
    async tag(source, repository, tag) {
      const { image } = findImage(catalog, source);
      const reference = withDefaultTag(combineImageName(repository, tag));
      if (reference.digest !== undefined) throw invalid("refusing to create a tag with a digest reference");
      if (parseImageName(repository).path === "library/sha256" && reference.domain === "docker.io") {
        throw invalid("refusing to create an ambiguous tag using digest algorithm as name");
      }
      await catalog.changeRepositories((repositories) => setName(repositories, reference, image.record.id));
      publish("tag", image.record.id, familiarString(reference), labelsOf(image));
    },
    remove: (reference, removeOptions) =>
      exclusively(async () => {
        // An image has one platform here: removing that is removing the image.
        for (const wanted of removeOptions.platforms ?? [])
          checkPlatform(findImage(catalog, reference).image, reference, wanted);
        return removeImage(removal, reference, removeOptions);
      }),
    prune: (filters) =>
      exclusively(async () => {
        const result = await pruneImages(removal, filters);
        options.publish({ action: "prune", id: "", attributes: { reclaimed: String(result.SpaceReclaimed) } });
        return result;
      }),
  };

  return {
    store,
    images,
    steps: makeBuildSteps({ catalog, disks, loaders: options.loaders, platform, removal, exclusively }),
    async authenticate(credentials) {
      try {
        const { identityToken } = await registry.login(credentials);
        return { Status: "Login Succeeded", IdentityToken: identityToken ?? "" };
      } catch (error) {
        throw engineError(error);
      }
    },
    collect: () => exclusively(() => collectHidden(removal)),
    layersSize: () =>
      [...catalog.disks.values()].flatMap(({ layers }) => layers).reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

const throwEngineError = (error: unknown): never => {
  throw engineError(error);
};

function storedImage(catalog: Catalog, { record, configuration }: CatalogImage): StoredImage {
  const disk = catalog.disks.get(record.disk);
  if (disk === undefined)
    throw new EngineError("internal", `the disk of image ${record.id} is gone: pull the image again`);
  return {
    id: record.id,
    architecture: configuration.architecture,
    os: configuration.os,
    config: configuration.config,
    disk: { path: catalog.layout.disk(disk.name).file, capacityBytes: disk.capacityBytes },
    sizeBytes: record.sizeBytes,
  };
}
