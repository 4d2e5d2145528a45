{
  "variables": {
    "runtime_sources": [
      "native/runtime/pages.cc",
      "native/runtime/allocator.cc",
      "native/runtime/stream.cc",
      "native/runtime/mappedFile.cc",
      "native/runtime/cpu/backend.cc",
      "native/runtime/cpu/pool.cc",
      "native/runtime/cpu/workspace.cc",
      "native/runtime/cpu/dispatch.cc",
      "native/runtime/cuda/backend.cc",
      "native/runtime/cuda/devices.cc",
      "native/runtime/cuda/driver.cc",
      "native/runtime/cuda/faultMessage.cc",
      "native/runtime/cuda/memory.cc",
      "native/runtime/cuda/modules.cc",
      "native/runtime/cuda/staging.cc",
      "native/runtime/cuda/timer.cc",
      "native/runtime/cuda/waiter.cc"
    ],
    "addon_sources": [
      "native/addon/addon.cc",
      "native/addon/device.cc"
    ],
    "cpu_kernel_sources": [
      "native/kernels/registry.cpu.cc",
      "native/kernels/sampling.cpu.cc",
      "native/kernels/gradNorm.cpu.cc",
      "native/kernels/adamw.cpu.cc",
      "native/kernels/attention.cpu.cc",
      "native/kernels/attentionBackward.cpu.cc",
      "native/kernels/crossEntropy.cpu.cc",
      "native/kernels/distillHead.cpu.cc",
      "native/kernels/divergence.cpu.cc",
      "native/kernels/elementwise.cpu.cc",
      "native/kernels/pagedAttention.cpu.cc",
      "native/kernels/embedding.cpu.cc",
      "native/kernels/matmul.cpu.cc",
      "native/kernels/matmulFewRows.cpu.cc",
      "native/kernels/matmulVector.cpu.cc",
      "native/kernels/pooling.cpu.cc",
      "native/kernels/rope.cpu.cc",
      "native/kernels/swiglu.cpu.cc",
      "native/kernels/rmsNorm.cpu.cc"
    ],
    "cuda_kernel_sources": [
      "native/kernels/registry.cuda.cc",
      "native/kernels/elementwise.cuda.cc",
      "native/kernels/rmsNorm.cuda.cc",
      "native/kernels/swiglu.cuda.cc",
      "native/kernels/rope.cuda.cc",
      "native/kernels/embedding.cuda.cc",
      "native/kernels/sortIds.cuda.cc",
      "native/kernels/pooling.cuda.cc",
      "native/kernels/adamw.cuda.cc",
      "native/kernels/gradNorm.cuda.cc",
      "native/kernels/sampling.cuda.cc"
    ],
    "cuda_device_sources": [
      "native/kernels/elementwise.cu",
      "native/kernels/rmsNorm.cu",
      "native/kernels/swiglu.cu",
      "native/kernels/rope.cu",
      "native/kernels/embedding.cu",
      "native/kernels/sortIds.cu",
      "native/kernels/pooling.cu",
      "native/kernels/adamw.cu",
      "native/kernels/gradNorm.cu",
      "native/kernels/sampling.cu"
    ],
    "cuda_flags": ["-std=c++20", "-O3", "-lineinfo", "--expt-relaxed-constexpr", "--no-compress"],
    "cuda_architectures": ["80", "86", "89", "90", "100", "120"],
    "cpu_flags": ["-std=c++20", "-O3", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wno-psabi"],
    "avx2_flags": ["-mavx2", "-mfma", "-mf16c", "-mbmi2", "-ffp-contract=fast"],
    "avx512bf16_flags": ["-mavx512bf16"],
    "avx512_flags": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c", "-mbmi2", "-mprefer-vector-width=512", "-ffp-contract=fast", "-Wno-ignored-attributes", "-Wno-uninitialized", "-Wno-maybe-uninitialized"]
  }
}
