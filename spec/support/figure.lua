-- What a spec measured, printed where MJTASK_FIGURES is set: specs assert limits, with slack.

return function(format, ...)
  if os.getenv "MJTASK_FIGURES" then io.write("\nfigure: ", format:format(...), "\n") end
end
