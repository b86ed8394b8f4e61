// The kernels before and after. From compute capability 9.0 on, the blocks of a kernel may start while those of the kernel before
// still run (PTX ISA 7.8, griddepcontrol). So every kernel waits before it reads or writes what another one may write or read.
#pragma once

// Lets the next kernel start when all blocks of this one have come so far; it waits for this one where it needs its results.
inline void let_next_start() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
inline void wait_for_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// The first statement of every kernel that does nothing useful before. Such a kernel gains nothing from an early start, and loses
// where its blocks then share the multiprocessors that are free first (measured: 5 to 14 % of whole networks of one image or
// sentence); so it is launched behind the end of the kernel before, and the kernel behind may still start early.
inline void follow_previous() {
#if __CUDA_ARCH__ >= 900
    let_next_start();
    wait_for_previous();
#endif
}
