/**
 * From rules to a classic BPF program as seccomp(2) takes it. System calls that a rule compares arguments of get code of their
 * own; all others are a ladder over ranges of numbers with the same result, from the highest down.
 */
import { type SystemCallTable, systemCalls } from "./system-calls.ts";

export type Comparison = "==" | "!=" | "<" | "<=" | ">" | ">=" | "masked";

export interface Condition {
  /** 0 to 5. */
  index: number;
  comparison: Comparison;
  value: bigint;
  /** Of `masked`: (argument & mask) == value. */
  mask?: bigint;
}

/** All conditions must hold; the first rule of a system call that holds decides, rules without conditions last. */
export interface Rule {
  name: string;
  conditions: Condition[];
  result: number;
}

export interface Program {
  tables: readonly SystemCallTable[];
  rules: readonly Rule[];
  defaultReturn: number;
  unknownFail: boolean;
}

/** Most instructions that the kernel takes (BPF_MAXINSNS). */
const INSTRUCTION_LIMIT = 4096;
const INSTRUCTION_BYTES = 8;
/** Offsets in struct seccomp_data. */
const NUMBER = 0;
const ARCHITECTURE = 4;
const ARGUMENTS = 16;
/** AUDIT_ARCH_ values (linux/audit.h). */
const AUDIT: Record<SystemCallTable, number> = { x86_64: 0xc000_003e, i386: 0x4000_0003, arm64: 0xc000_00b7 };
/** System calls of the x32 ABI have this bit; kernels for guests are built without it. */
const X32_BIT = 0x4000_0000;
const FAIL_UNKNOWN = 0x0005_0000 | 38; // ERRNO, ENOSYS
/** BPF opcodes. */
const LOAD = 0x20;
const AND = 0x54;
const RETURN = 0x06;
const JUMP = 0x05;
const JUMP_EQUAL = 0x15;
const JUMP_GREATER = 0x25;
const JUMP_AT_LEAST = 0x35;

type Label = symbol;
interface Instruction {
  code: number;
  value: number;
  /** Where a conditional jump goes; the next instruction when left out. */
  yes?: Label | undefined;
  no?: Label | undefined;
}

class Assembler {
  readonly #code: Instruction[] = [];
  readonly #places = new Map<Label, number>();

  add(code: number, value: number, yes?: Label, no?: Label): void {
    this.#code.push({ code, value, yes, no });
  }

  place(label: Label): void {
    this.#places.set(label, this.#code.length);
  }

  /** struct sock_filter array, little endian. */
  bytes(): Uint8Array {
    if (this.#code.length > INSTRUCTION_LIMIT)
      throw new RangeError(
        `the seccomp profile needs ${this.#code.length} instructions and Linux takes at most ${INSTRUCTION_LIMIT}`,
      );
    const bytes = new Uint8Array(this.#code.length * INSTRUCTION_BYTES);
    const view = new DataView(bytes.buffer);
    for (const [index, { code, value, yes, no }] of this.#code.entries()) {
      const offset = index * INSTRUCTION_BYTES;
      view.setUint16(offset, code, true);
      if (code === JUMP) {
        view.setUint32(offset + 4, this.#distance(index, yes), true);
        continue;
      }
      for (const [at, label] of [yes, no].entries()) {
        const distance = this.#distance(index, label);
        if (distance > 255) throw new RangeError("a jump of the seccomp program is too long");
        view.setUint8(offset + 2 + at, distance);
      }
      view.setUint32(offset + 4, value >>> 0, true);
    }
    return bytes;
  }

  #distance(from: number, label: Label | undefined): number {
    if (label === undefined) return 0;
    const place = this.#places.get(label);
    if (place === undefined || place <= from) throw new RangeError("a jump of the seccomp program leads nowhere");
    return place - from - 1;
  }
}

/** Throws RangeError when the program is too long for the kernel. */
export function compile(program: Program): Uint8Array {
  const assembler = new Assembler();
  assembler.add(LOAD, ARCHITECTURE);
  for (const table of program.tables) {
    const [here, next] = [Symbol("here"), Symbol("next architecture")];
    assembler.add(JUMP_EQUAL, AUDIT[table], here);
    assembler.add(JUMP, 0, next);
    assembler.place(here);
    architecture(assembler, program, table);
    assembler.place(next);
  }
  // Of an architecture that the profile does not name.
  assembler.add(RETURN, FAIL_UNKNOWN);
  return assembler.bytes();
}

function architecture(assembler: Assembler, program: Program, table: SystemCallTable): void {
  const numbers = systemCalls(table);
  const plain = new Map<number, number>();
  const conditional = new Map<number, Rule[]>();
  for (const rule of program.rules) {
    const number = numbers.get(rule.name);
    if (number === undefined) continue;
    if (rule.conditions.length > 0) conditional.set(number, [...(conditional.get(number) ?? []), rule]);
    else if (!plain.has(number)) plain.set(number, rule.result);
  }
  assembler.add(LOAD, NUMBER);
  if (table === "x86_64") {
    const native = Symbol("native");
    assembler.add(JUMP_AT_LEAST, X32_BIT, undefined, native);
    assembler.add(RETURN, FAIL_UNKNOWN);
    assembler.place(native);
  }
  for (const [number, rules] of conditional) {
    const [here, next] = [Symbol("here"), Symbol("next system call")];
    assembler.add(JUMP_EQUAL, number, here);
    assembler.add(JUMP, 0, next);
    assembler.place(here);
    for (const rule of rules) {
      const failed = Symbol("rule does not hold");
      for (const condition of rule.conditions) test(assembler, condition, failed);
      assembler.add(RETURN, rule.result);
      assembler.place(failed);
    }
    assembler.add(RETURN, plain.get(number) ?? program.defaultReturn);
    assembler.place(next);
  }
  ladder(assembler, program, plain, Math.max(...numbers.values()));
}

function ladder(assembler: Assembler, program: Program, plain: ReadonlyMap<number, number>, last: number): void {
  const ranges: { first: number; result: number }[] = [];
  for (let number = 0; number <= last + 1; number++) {
    const unknown = number > last && program.unknownFail ? FAIL_UNKNOWN : program.defaultReturn;
    const result = plain.get(number) ?? unknown;
    if (ranges.at(-1)?.result !== result) ranges.push({ first: number, result });
  }
  for (const { first, result } of ranges.reverse()) {
    const below = Symbol("below");
    assembler.add(JUMP_AT_LEAST, first, undefined, below);
    assembler.add(RETURN, result);
    assembler.place(below);
  }
  assembler.add(RETURN, program.defaultReturn);
}

const low = (value: bigint): number => Number(value & 0xffff_ffffn);
const high = (value: bigint): number => Number((value >> 32n) & 0xffff_ffffn);

/** Falls through when the condition holds. Arguments have 64 bits, BPF registers 32. */
function test(assembler: Assembler, { index, comparison, value, mask }: Condition, failed: Label): void {
  const holds = Symbol("holds");
  const load = (offset: number): void => assembler.add(LOAD, ARGUMENTS + 8 * index + offset);
  const inverted = comparison === "!=" || comparison === "<" || comparison === "<=";
  const [yes, no] = inverted ? [failed, holds] : [holds, failed];
  load(4);
  if (mask !== undefined) assembler.add(AND, high(mask));
  if (comparison === "==" || comparison === "!=" || comparison === "masked") {
    assembler.add(JUMP_EQUAL, high(value), undefined, no);
    load(0);
    if (mask !== undefined) assembler.add(AND, low(mask));
    assembler.add(JUMP_EQUAL, low(value), yes, no);
  } else {
    assembler.add(JUMP_GREATER, high(value), yes);
    assembler.add(JUMP_EQUAL, high(value), undefined, no);
    load(0);
    const strict = comparison === ">" || comparison === "<=";
    assembler.add(strict ? JUMP_GREATER : JUMP_AT_LEAST, low(value), yes, no);
  }
  assembler.place(holds);
}
