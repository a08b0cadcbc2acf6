# How the cost of a look and the memory of a waiting task grow with their number: from `data` to the
# file `svg`, both given by -e. Columns: tasks, microseconds, bytes of memory, bytes of Lua's heap.

set terminal svg size 720,400 font "sans-serif,12" background "white"
set output svg
set logscale x
set format x "10^{%T}"
set xlabel "tasks that are waited for"
set ylabel "CPU of a look, µs"
set y2label "memory of a task, bytes"
set yrange [0:*]
set y2range [0:*]
set ytics nomirror
set y2tics
set grid x y
set key outside top center horizontal
# Memory comes in pages, and the free ones are used first: of fewer than that it says nothing.
plot data using 1:2 axes x1y1 with linespoints lw 2 pt 7 title "CPU of a look", \
     data using 1:($1 < 10000 ? NaN : $3) axes x1y2 with linespoints lw 2 pt 5 title "memory of a task", \
     data using 1:($1 < 1000 ? NaN : $4) axes x1y2 with linespoints lw 2 pt 4 title "of that Lua's heap"
