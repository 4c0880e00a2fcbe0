// std::format for GCC 12 and older, by the library that it came from.
#pragma once
#define FMT_HEADER_ONLY
#include <fmt/format.h>
namespace std {
using fmt::format;
}
