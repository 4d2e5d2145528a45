# The native addon, built by node-gyp. Sources and flags come from native/sources.gypi, which CMakeLists.txt reads too.
{
  'includes': ['native/sources.gypi'],
  'variables': {'nvcc%': '<!(node scripts/fatbin.mjs --nvcc)'},
  'target_defaults': {
    'cflags_cc': ['<@(cpu_flags)'],
    'xcode_settings': {
      'OTHER_CPLUSPLUSFLAGS': ['<@(cpu_flags)'],
      'CLANG_CXX_LANGUAGE_STANDARD': 'c++20',
      'GCC_OPTIMIZATION_LEVEL': '3',
      'MACOSX_DEPLOYMENT_TARGET': '11.0',
    },
    'conditions': [
      ['target_arch=="x64"', {'defines': ['LANTERN_X86']}],
    ],
  },
  'targets': [
    {
      'target_name': 'lantern',
      'sources': ['<@(runtime_sources)', '<@(cuda_kernel_sources)', '<@(addon_sources)'],
      'defines': [
        'NAPI_VERSION=8',
        'NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS',
        'NODE_ADDON_API_DISABLE_DEPRECATED',
        'LANTERN_BUILDER="node-gyp"',
      ],
      'include_dirs': [
        "<!(node -p \"require('node-addon-api').include_dir\")",
        "<!(node -p \"require('node-api-headers').include_dir\")",
      ],
      'cflags_cc': ['-fvisibility=hidden'],
      'ldflags': ['-pthread'],
      # `portable` is linked first, so that a template that the sets share is the one every processor can run.
      'dependencies': ['kernels_portable'],
      'conditions': [
        # CUDA kernels: a fatbin for every .cu, inside a source that embeds it. Without nvcc the addon has none and says so.
        ['nvcc!=""', {
          'sources': ['<@(cuda_device_sources)'],
          'defines': ['LANTERN_CUDA'],
          'rules': [{
            'rule_name': 'nvcc',
            'extension': 'cu',
            'inputs': ['scripts/fatbin.mjs', 'native/sources.gypi', '<!@(node scripts/fatbin.mjs --headers)'],
            'outputs': ['<(INTERMEDIATE_DIR)/<(RULE_INPUT_ROOT).cc'],
            'action': ['node', 'scripts/fatbin.mjs', '<(RULE_INPUT_PATH)', '<@(_outputs)'],
            'process_outputs_as_sources': 1,
            'message': 'nvcc <(RULE_INPUT_ROOT)',
          }],
        }],
        ['OS=="linux"', {'libraries': ['-ldl']}],
        ['target_arch=="x64"', {'dependencies': ['kernels_avx2', 'kernels_avx512', 'kernels_avx512bf16']}],
        ['OS=="mac"', {'xcode_settings': {'GCC_SYMBOLS_PRIVATE_EXTERN': 'YES'}}],
      ],
    },
    {
      'target_name': 'kernels_portable',
      'type': 'static_library',
      'sources': ['<@(cpu_kernel_sources)'],
      'defines': ['LANTERN_ISA=portable'],
    },
  ],
  'conditions': [
    ['target_arch=="x64"', {
      'targets': [
        {
          'target_name': 'kernels_avx2',
          'type': 'static_library',
          'sources': ['<@(cpu_kernel_sources)'],
          'defines': ['LANTERN_ISA=avx2'],
          'cflags_cc': ['<@(avx2_flags)'],
          'xcode_settings': {'OTHER_CPLUSPLUSFLAGS': ['<@(avx2_flags)']},
        },
        {
          'target_name': 'kernels_avx512',
          'type': 'static_library',
          'sources': ['<@(cpu_kernel_sources)'],
          'defines': ['LANTERN_ISA=avx512'],
          'cflags_cc': ['<@(avx512_flags)'],
          'xcode_settings': {'OTHER_CPLUSPLUSFLAGS': ['<@(avx512_flags)']},
        },
        {
          'target_name': 'kernels_avx512bf16',
          'type': 'static_library',
          'sources': ['<@(cpu_kernel_sources)'],
          'defines': ['LANTERN_ISA=avx512bf16'],
          'cflags_cc': ['<@(avx512_flags)', '<@(avx512bf16_flags)'],
          'xcode_settings': {'OTHER_CPLUSPLUSFLAGS': ['<@(avx512_flags)', '<@(avx512bf16_flags)']},
        },
      ],
    }],
  ],
}
