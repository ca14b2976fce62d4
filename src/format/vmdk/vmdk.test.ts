import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { NO_PARENT_CID, parseDescriptor, printDescriptor, type VmdkDescriptor, VmdkError } from "./descriptor.ts";
import {
  CAPACITY_LIMIT,
  decodeEntries,
  decodeSparseHeader,
  diskDatabase,
  encodeEntries,
  encodeSparseHeader,
  grainTableCount,
  layoutExtension,
  layoutSparseExtent,
  SECTOR,
} from "./sparse-extent.ts";

const name = fc.stringMatching(/^[A-Za-z0-9_./ -]{1,60}$/).filter((text) => text.trim() === text);
const descriptorArbitrary: fc.Arbitrary<VmdkDescriptor> = fc.record(
  {
    cid: fc.integer({ min: 0, max: 0xffff_ffff }),
    parentCid: fc.integer({ min: 0, max: 0xffff_ffff }),
    createType: fc.constantFrom("monolithicSparse", "vmfs", "twoGbMaxExtentSparse"),
    parentFileNameHint: name,
    extents: fc.array(
      fc.oneof(
        fc.record({
          access: fc.constantFrom("RW", "RDONLY", "NOACCESS"),
          sectors: fc.nat(),
          type: fc.constantFrom("FLAT", "VMFS"),
          file: name,
          offset: fc.nat(),
        }),
        fc.record({
          access: fc.constant("RW" as const),
          sectors: fc.nat(),
          type: fc.constant("SPARSE" as const),
          file: name,
          offset: fc.constant(0),
        }),
      ),
      { minLength: 1, maxLength: 5 },
    ),
    database: fc.constant(diskDatabase(2048)),
  },
  { requiredKeys: ["cid", "parentCid", "createType", "extents", "database"] },
) as fc.Arbitrary<VmdkDescriptor>;

describe("descriptor", () => {
  test("what is printed is read back", () => {
    fc.assert(
      fc.property(descriptorArbitrary, (descriptor) => {
        expect(parseDescriptor(printDescriptor(descriptor))).toEqual(descriptor);
      }),
    );
  });

  test("any text yields a descriptor or a VmdkError", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parseDescriptor(`# Disk DescriptorFile\n${text}`);
        } catch (error) {
          expect(error).toBeInstanceOf(VmdkError);
        }
      }),
    );
  });

  test("a name that would break out of its quotes is refused", () => {
    const descriptor = { cid: 1, parentCid: NO_PARENT_CID, createType: "vmfs", extents: [], database: new Map() };
    expect(() => printDescriptor({ ...descriptor, parentFileNameHint: 'a"\nRW 1 FLAT "/etc/shadow' })).toThrow(
      VmdkError,
    );
  });
});

describe("sparse extent", () => {
  test("header round trip", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: CAPACITY_LIMIT / SECTOR }), (sectors) => {
        const { header } = layoutSparseExtent(sectors);
        expect(decodeSparseHeader(encodeSparseHeader(header))).toEqual(header);
      }),
      { numRuns: 20 },
    );
  });

  test("tables of a layout do not overlap, extended or not", () => {
    const tableSectors = 4;
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3e7 }), fc.nat(3e7), fc.nat(1e6), (sectors, more, data) => {
        const first = layoutSparseExtent(sectors);
        const end = first.header.overheadSectors + data;
        const second = layoutExtension(first.header, first.directory, first.redundantDirectory, sectors + more, end);
        expect(second.directory.length).toBe(grainTableCount(second.header));
        const starts = [...second.directory, ...second.redundantDirectory].sort((a, b) => a - b);
        for (let index = 1; index < starts.length; index++) {
          expect(Number(starts[index]) - Number(starts[index - 1])).toBeGreaterThanOrEqual(tableSectors);
        }
        expect(Number(starts.at(-1)) + tableSectors).toBeLessThanOrEqual(second.endSector);
        // Nothing new may stand on what the old header refers to.
        expect(second.header.redundantDirectoryOffset).toBeGreaterThanOrEqual(end);
      }),
      { numRuns: 30 },
    );
  });

  test("damaged headers are refused", () => {
    const good = encodeSparseHeader(layoutSparseExtent(2048).header);
    const damaged = (offset: number, value: number) => {
      const bytes = good.slice();
      new DataView(bytes.buffer).setUint32(offset, value, true);
      return bytes;
    };
    expect(() => decodeSparseHeader(damaged(0, 1))).toThrow("no sparse extent header");
    expect(() => decodeSparseHeader(damaged(4, 9))).toThrow("version 9");
    expect(() => decodeSparseHeader(damaged(20, 3))).toThrow("grain size of 3");
    expect(() => decodeSparseHeader(damaged(44, 0))).toThrow("0 entries");
    expect(() => decodeSparseHeader(damaged(8, 0x3_0001))).toThrow("streamOptimized");
    expect(() => decodeSparseHeader(damaged(16, 0xff))).toThrow("grain directory is too large");
  });

  test("capacity limits", () => {
    expect(() => layoutSparseExtent(0)).toThrow(VmdkError);
    expect(() => layoutSparseExtent(CAPACITY_LIMIT / SECTOR + 1)).toThrow(VmdkError);
  });

  test("entries are little endian", () => {
    expect([...encodeEntries(Uint32Array.of(1, 0x01020304))]).toEqual([1, 0, 0, 0, 4, 3, 2, 1]);
    expect([...decodeEntries(new Uint8Array([4, 3, 2, 1]))]).toEqual([0x01020304]);
  });
});
