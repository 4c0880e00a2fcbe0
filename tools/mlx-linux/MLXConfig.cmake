# All that is needed of MLX to build its C interface. The file in the wheel would look for more: with CUDA for a
# toolkit and cuDNN's headers, which only MLX itself was built with.
get_filename_component(MLX_ROOT "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
add_library(mlx SHARED IMPORTED)
set_target_properties(mlx PROPERTIES
  IMPORTED_LOCATION "${MLX_ROOT}/lib/libmlx.so"
  INTERFACE_COMPILE_FEATURES cxx_std_20
  INTERFACE_INCLUDE_DIRECTORIES "${MLX_ROOT}/include")
