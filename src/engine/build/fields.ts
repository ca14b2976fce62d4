/**
 * What becomes of every parameter of a build request (Docker's ImageBuild and BuildPrune): applied, mapped to what RUN's
 * containers get, or refused with the reason. Nothing is accepted and ignored.
 */
import type { FieldRule } from "../containers/fields.ts";

const applied = (field: string, note: string): FieldRule => ({ field, treatment: "applied", note });
const mapped = (field: string, note: string): FieldRule => ({ field, treatment: "mapped", note });
const refused = (field: string, note: string): FieldRule => ({ field, treatment: "refused", note });

const CACHE_SIZE =
  "the cache of the classic builder are images, whose disks many share; choose with the filters until, id, parent or description";

export const BUILD_FIELDS: readonly FieldRule[] = [
  applied(
    "Build.inputStream",
    "a tar, plain or packed with gzip, bzip2, xz or zstd; indexed, never unpacked on the endpoint",
  ),
  applied("Build.Content-type", "the archive's form is told by its first bytes"),
  applied("Build.dockerfile", "path in the context"),
  applied("Build.t", "names of the image"),
  applied("Build.remote", "address of an archive or a Dockerfile (http, https); git repositories are refused"),
  applied("Build.q", "only the image's id is told"),
  applied("Build.nocache", "every step is done anew"),
  applied("Build.cachefrom", "steps are looked for in these images' history"),
  applied("Build.pull", "base images are asked for at their registry"),
  applied("Build.rm", "containers of RUN are removed when the step has succeeded"),
  applied("Build.forcerm", "containers of RUN are removed after a failure too"),
  applied("Build.buildargs", "values of ARG"),
  applied("Build.labels", "labels of the image, each a step at the end"),
  applied("Build.target", "the stage to stop at"),
  applied("Build.platform", "must be the endpoint's"),
  applied("Build.X-Registry-Config", "credentials for the registries of base images"),
  applied(
    "Build.version",
    "1; version 2 is BuildKit, which runs in a container: docker buildx create --driver docker-container",
  ),
  mapped("Build.extrahosts", "HostConfig.ExtraHosts of RUN's containers"),
  mapped("Build.memory", "HostConfig.Memory of RUN's containers"),
  mapped("Build.memswap", "HostConfig.MemorySwap of RUN's containers"),
  mapped("Build.cpushares", "HostConfig.CpuShares of RUN's containers"),
  mapped("Build.cpusetcpus", "HostConfig.CpusetCpus of RUN's containers"),
  mapped("Build.cpusetmems", "HostConfig.CpusetMems of RUN's containers"),
  mapped("Build.cpuperiod", "HostConfig.CpuPeriod of RUN's containers"),
  mapped("Build.cpuquota", "HostConfig.CpuQuota of RUN's containers"),
  mapped("Build.cgroupparent", "HostConfig.CgroupParent of RUN's containers"),
  mapped("Build.shmsize", "HostConfig.ShmSize of RUN's containers"),
  mapped("Build.ulimits", "HostConfig.Ulimits of RUN's containers"),
  mapped("Build.securityopt", "HostConfig.SecurityOpt of RUN's containers"),
  mapped("Build.isolation", "HostConfig.Isolation of RUN's containers"),
  mapped("Build.networkmode", "HostConfig.NetworkMode of RUN's containers"),
  refused("Build.squash", "it is experimental in Docker too; use stages and COPY --from"),
  refused(
    "Build.outputs",
    "exporters are BuildKit's, which runs in a container: docker buildx create --driver docker-container",
  ),
  refused(
    "Build.session",
    "sessions are BuildKit's, which runs in a container: docker buildx create --driver docker-container",
  ),

  applied("BuildPrune.filters", "until, id, parent, description, inuse; shared and type are BuildKit's and refused"),
  applied("BuildPrune.all", "the cache has one kind of entry, so it makes no difference"),
  refused("BuildPrune.keep-storage", CACHE_SIZE),
  refused("BuildPrune.reserved-space", CACHE_SIZE),
  refused("BuildPrune.max-used-space", CACHE_SIZE),
  refused("BuildPrune.min-free-space", CACHE_SIZE),
];
