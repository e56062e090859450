-- Sends the requests in turn with each Cookie header of the file $COOKIES, a line each.
-- With CHECK every answer is looked at, which is slow: for the run before the measured ones.
local requests, index, main = {}, 0, nil
odd = 0

function setup(thread)
  main = thread
end

function init(_)
  for line in io.lines(os.getenv("COOKIES")) do
    requests[#requests + 1] = wrk.format("GET", nil, { ["Host"] = "127.0.0.1", ["Cookie"] = line })
  end
end

function request()
  index = index % #requests + 1
  return requests[index]
end

if os.getenv("CHECK") then
  function response(status, _, body)
    if status ~= 200 or body == "" then
      odd = odd + 1
    end
  end
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"us":%d,"bytes":%d,"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,'
      .. '"p50":%d,"p90":%d,"p99":%d,"odd":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    errors.status, errors.connect, errors.read, errors.write, errors.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), main:get("odd") or 0))
end
