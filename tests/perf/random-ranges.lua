-- For wrk: ranges of 64 KiB at random offsets of a file of 1 GiB.
local size, length = 1073741824, 65536

function init(args)
  math.randomseed(os.time())
end

function request()
  local from = math.random(0, size - length)
  return wrk.format("GET", nil, { ["Range"] = string.format("bytes=%d-%d", from, from + length - 1) })
end
