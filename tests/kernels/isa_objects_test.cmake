# cmake -DNM=nm -DOBJECTS="a.o;b.o" -P isa_objects_test.cmake
#
# An object built for one instruction set may define no function that the linker could choose over the same function of
# another object, or a machine without that set would run it. Weak definitions are allowed only where a vector type is
# part of the name.
string(REPLACE "," ";" OBJECTS "${OBJECTS}")
foreach(object ${OBJECTS})
  if(NOT object MATCHES "isa_(avx|amx)")
    continue()
  endif()
  execute_process(COMMAND ${NM} ${object} OUTPUT_VARIABLE symbols RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "${NM} ${object} failed")
  endif()
  string(REGEX MATCHALL "[^\n]* [WVu] [^\n]*" weak "${symbols}")
  foreach(symbol ${weak})
    if(NOT symbol MATCHES "Vec(Avx2|Avx512)")
      message(FATAL_ERROR "${object} defines ${symbol}")
    endif()
  endforeach()
  list(APPEND checked ${object})
endforeach()
list(LENGTH checked count)
if(NOT count EQUAL 4)
  message(FATAL_ERROR "expected four objects, found: ${checked}")
endif()
