//! Checks of the machine code of microkernels, read from the running test binary: registers and instructions of their
//! main loops.
//!
//! A microkernel is fast only if its sums stay in registers: a rolled loop over an array of them once took five times
//! as long. The test decodes the code and never runs it, so it also checks instruction sets that the machine does not
//! have. Each file with kernels lists its own; `cargo xtask tidy` finds the one that does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

/// Bytes around the entry of a function in which a jump stays inside of it; a farther one calls another function.
const REACH: u64 = 1 << 16;
/// Bytes of the longest instruction.
const LONGEST: usize = 15;

/// The registers that a tier computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vectors {
    /// 256 bits.
    Ymm,
    /// 512 bits.
    Zmm,
}

impl Vectors {
    fn are_in(self, instruction: &Instruction) -> bool {
        (0..instruction.op_count()).any(|operand| match self {
            Vectors::Ymm => instruction.op_register(operand).is_ymm(),
            Vectors::Zmm => instruction.op_register(operand).is_zmm(),
        })
    }
}

/// The required work of the main loops of a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// So many multiply-adds per step, written out. The compiler may unroll: a loop has a multiple of them.
    MultiplyAdds(usize),
    /// This operation, made vectors of by the compiler, which adds narrower loops for the remainder. Their sums may be
    /// an array on the stack: those of a strip of columns are one by intent.
    Vectorized(Mnemonic),
}

impl Work {
    fn is_in(self, instruction: &Instruction) -> bool {
        match self {
            Work::MultiplyAdds(_) => {
                matches!(instruction.mnemonic(), Mnemonic::Vfmadd132ps | Mnemonic::Vfmadd213ps | Mnemonic::Vfmadd231ps)
            }
            Work::Vectorized(mnemonic) => instruction.mnemonic() == mnemonic,
        }
    }
}

/// The code of a function and its required work; see [`kernel!`].
pub(crate) struct Kernel {
    pub(crate) name: &'static str,
    pub(crate) code: *const (),
    pub(crate) vectors: Vectors,
    pub(crate) work: Work,
}

/// A function with the registers and the work of its main loops.
macro_rules! kernel {
    ($code:expr, $vectors:ident, $work:expr) => {
        $crate::machine_code::Kernel {
            name: stringify!($code),
            code: $code as *const (),
            vectors: $crate::machine_code::Vectors::$vectors,
            work: $work,
        }
    };
}
pub(crate) use kernel;

/// Asserts that the main loops of all kernels do their required work, and do not touch the stack.
///
/// # Panics
/// When one does not; the message lists all problems.
pub(crate) fn assert_in_registers(kernels: &[Kernel]) {
    let wrong: Vec<String> = kernels.iter().filter_map(|k| Some(format!("{}: {}", k.name, k.problem()?))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

impl Kernel {
    /// The first problem of the main loops, which are the innermost loops that do the work.
    fn problem(&self) -> Option<String> {
        let body = match body(self.code as u64) {
            Ok(body) => body,
            Err(problem) => return Some(problem),
        };
        let frame = frame(&body);
        let mut main_loops = 0;
        for (head, end) in innermost_loops(&body) {
            let code = || body.range(head..=end).map(|(_, instruction)| instruction);
            let work = || code().filter(|i| self.work.is_in(i));
            let whole = work().filter(|i| self.vectors.are_in(i)).count();
            let place = format!("the loop from byte {}", head - self.code as u64);
            match self.work {
                _ if work().count() == 0 => continue,
                Work::Vectorized(_) => main_loops += usize::from(whole > 0),
                Work::MultiplyAdds(step) if whole != work().count() || whole % step != 0 => {
                    let narrow = work().count() - whole;
                    return Some(format!("{place}: {whole} whole and {narrow} narrow operations, steps of {step}"));
                }
                Work::MultiplyAdds(_) => {
                    main_loops += 1;
                    if let Some(traffic) = code().find(|i| touches(i, &frame)) {
                        return Some(format!("{place}: stack traffic by {:?}", traffic.code()));
                    }
                }
            }
        }
        (main_loops == 0).then(|| format!("no loop does {:?} in {:?}", self.work, self.vectors))
    }
}

/// All instructions that can be reached from the entry without leaving the function, by address.
fn body(entry: u64) -> Result<BTreeMap<u64, Instruction>, String> {
    let mut memory = File::open("/proc/self/mem").map_err(|e| format!("the own memory: {e}"))?;
    let (mut body, mut open) = (BTreeMap::new(), vec![entry]);
    while let Some(address) = open.pop() {
        if address.abs_diff(entry) > REACH || body.contains_key(&address) {
            continue;
        }
        let mut bytes = [0; LONGEST];
        let read = memory.seek(SeekFrom::Start(address)).and_then(|_| memory.read(&mut bytes));
        let read = read.map_err(|e| format!("code at {address:#x}: {e}"))?;
        let instruction = Decoder::with_ip(64, &bytes[..read], address, DecoderOptions::NONE).decode();
        if instruction.is_invalid() {
            return Err(format!("no instruction at {address:#x}"));
        }
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => open.push(instruction.next_ip()),
            FlowControl::ConditionalBranch => open.extend([instruction.next_ip(), instruction.near_branch_target()]),
            FlowControl::UnconditionalBranch => open.push(instruction.near_branch_target()),
            _ => {}
        }
        body.insert(address, instruction);
    }
    Ok(body)
}

/// First and last address of the loops that hold no other. A loop is what lies between a branch and its target before.
fn innermost_loops(body: &BTreeMap<u64, Instruction>) -> Vec<(u64, u64)> {
    let jumps = [FlowControl::ConditionalBranch, FlowControl::UnconditionalBranch];
    let back = body.iter().filter(|(address, instruction)| {
        jumps.contains(&instruction.flow_control()) && instruction.near_branch_target() <= **address
    });
    let back = back.map(|(address, instruction)| (instruction.near_branch_target(), *address));
    // In order of addresses: of several branches to one target the last one counts.
    let loops: BTreeMap<u64, u64> = back.filter(|(target, _)| body.contains_key(target)).collect();
    let is_innermost = |head: u64, end: u64| loops.range(head + 1..=end).all(|(_, inner)| *inner > end);
    loops.iter().map(|(&head, &end)| (head, end)).filter(|&(head, end)| is_innermost(head, end)).collect()
}

/// Registers that the stack is addressed by: others than its pointer only where a function copies it, as frame
/// pointers.
fn frame(body: &BTreeMap<u64, Instruction>) -> BTreeSet<Register> {
    let is_copy = |i: &&Instruction| i.mnemonic() == Mnemonic::Mov && i.op1_register() == Register::RSP;
    body.values().filter(is_copy).map(Instruction::op0_register).chain([Register::RSP]).collect()
}

/// Does an instruction read or write memory of the stack?
fn touches(instruction: &Instruction, frame: &BTreeSet<Register>) -> bool {
    let has_memory = (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory);
    let through = [instruction.memory_base(), instruction.memory_index()];
    instruction.is_stack_instruction() || has_memory && through.iter().any(|register| frame.contains(register))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loop of machine code between a prologue and a return, with space to decode the bytes after it.
    fn problem_of(loop_body: &[u8], prologue: &[u8], vectors: Vectors, step: usize) -> Option<String> {
        let back = -2 - i8::try_from(loop_body.len()).ok()?;
        // jne back; ret
        let end = [0x75, back.to_le_bytes()[0], 0xc3];
        let code = [prologue, loop_body, &end, &[0; LONGEST]].concat();
        let work = Work::MultiplyAdds(step);
        Kernel { name: "bytes", code: code.as_ptr().cast(), vectors, work }.problem()
    }

    /// vfmadd231ps zmm0, zmm1, [rax]
    const MULTIPLY_ADD: &[u8] = &[0x62, 0xf2, 0x75, 0x48, 0xb8, 0x00];
    /// vfmadd231ps ymm0, ymm1, [rax]
    const NARROW: &[u8] = &[0xc4, 0xe2, 0x75, 0xb8, 0x00];
    /// dec rcx
    const COUNT: &[u8] = &[0x48, 0xff, 0xc9];

    #[test]
    fn loops_without_stack_pass() {
        assert_eq!(problem_of(&[MULTIPLY_ADD, MULTIPLY_ADD, COUNT].concat(), &[], Vectors::Zmm, 2), None);
        assert_eq!(problem_of(&[NARROW, COUNT].concat(), &[], Vectors::Ymm, 1), None);
        // Without a frame, rbp is a register like others: vmovups zmm2, [rbp]
        let load: &[u8] = &[0x62, 0xf1, 0x7c, 0x48, 0x10, 0x55, 0x00];
        assert_eq!(problem_of(&[load, MULTIPLY_ADD, COUNT].concat(), &[], Vectors::Zmm, 1), None);
    }

    #[test]
    fn loops_with_stack_traffic_are_refused() {
        let reload: &[u8] = &[0x62, 0xf1, 0x7c, 0x48, 0x10, 0x54, 0x24, 0x01]; // vmovups zmm2, [rsp+64]
        let spill: &[u8] = &[0x62, 0xf1, 0x7c, 0x48, 0x11, 0x54, 0x24, 0x01]; // vmovups [rsp+64], zmm2
        let by_frame: &[u8] = &[0x62, 0xf1, 0x7c, 0x48, 0x10, 0x55, 0xff]; // vmovups zmm2, [rbp-64]
        let push: &[u8] = &[0x50]; // push rax
        let frame: &[u8] = &[0x48, 0x89, 0xe5]; // mov rbp, rsp
        for traffic in [reload, spill, by_frame, push] {
            let problem = problem_of(&[traffic, MULTIPLY_ADD, COUNT].concat(), frame, Vectors::Zmm, 1);
            assert!(problem.is_some_and(|p| p.contains("stack traffic")), "{traffic:x?}");
        }
    }

    #[test]
    fn other_work_is_refused() {
        let narrow = problem_of(&[NARROW, COUNT].concat(), &[], Vectors::Zmm, 1);
        assert!(narrow.is_some_and(|p| p.contains("0 whole and 1 narrow")));
        let fewer = problem_of(&[MULTIPLY_ADD, COUNT].concat(), &[], Vectors::Zmm, 2);
        assert!(fewer.is_some_and(|p| p.contains("steps of 2")));
        assert!(problem_of(COUNT, &[], Vectors::Zmm, 1).is_some_and(|p| p.contains("no loop")));
    }

    /// Twenty sums and a factor in sixteen registers.
    #[target_feature(enable = "avx2,fma")]
    fn too_large(values: &[[f32; 8]], sums: &mut [[f32; 8]; 20]) {
        use std::arch::x86_64::*;
        seq_macro::seq!(I in 0..20 { let mut sum~I = _mm256_set1_ps(sums[I][0]); });
        for value in values {
            let value = _mm256_set_ps(value[0], value[1], value[2], value[3], value[4], value[5], value[6], value[7]);
            seq_macro::seq!(I in 0..20 { sum~I = _mm256_fmadd_ps(value, sum~I, value); });
        }
        seq_macro::seq!(I in 0..20 { sums[I][0] = _mm256_cvtss_f32(sum~I); });
    }

    #[test]
    fn a_tile_larger_than_the_registers_is_refused() {
        let problem = kernel!(too_large, Ymm, Work::MultiplyAdds(20)).problem();
        assert!(problem.as_ref().is_some_and(|p| p.contains("stack traffic")), "{problem:?}");
    }
}
