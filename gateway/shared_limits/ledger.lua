-- Keeps what all nodes together have used of each rate, and leases slices of what is left.
--
-- A rate is a sliding window counter, as in gateway/core/sliding_window.py; what is leased counts as used. The clock is
-- this server's. Arguments and result are MessagePack; gateway/shared_limits/ledger.py says what is in them.

local HUNGRY_AGAIN = 200000      -- microseconds after which it is noted again that a rate has too little left
local NEWS_KEPT = 60000000       -- how long changes are told to nodes that ask for news
local NEWS_AT_ONCE = 500
local NODE_THERE = 2000000       -- how long a node counts as one after its latest batch
local YOUNG = 150000             -- age of a window in which not all nodes may have told what they have used on trust
local NODE_KEPT = 3600000        -- milliseconds for which a node's latest batch is known

local prefix = KEYS[1]
local node, number, since, entries = unpack(cmsgpack.unpack(ARGV[1]))
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local latest = prefix .. ':node:' .. node
local changes = prefix .. ':changes'

redis.call('ZADD', prefix .. ':nodes', now, node)
redis.call('ZREMRANGEBYSCORE', prefix .. ':nodes', '-inf', now - NODE_THERE)
local nodes = redis.call('ZCARD', prefix .. ':nodes')

-- A node that has not heard the answer sends its batch again, which must not count twice, and is leased the same.
local counted, leases = 0, {}
local kept = redis.call('GET', latest)
if kept then counted, leases = unpack(cmsgpack.unpack(kept)) end
local counted_before = counted == number
if not counted_before then leases = {} end

local function roll(rate, length)
  local elapsed = now - rate.began
  if elapsed < 0 or (rate.current == 0 and rate.previous == 0) then
    rate.began = now
  elseif elapsed >= length then
    local follows = rate.current > 0 and elapsed < 2 * length
    rate.began = follows and rate.began + length or now
    rate.previous = follows and rate.current or 0
    rate.current = 0
  end
end

local function left(rate, limit, length)
  local age = now - rate.began
  if rate.previous == 0 and age < YOUNG then limit = math.floor(limit / nodes) end
  return limit - rate.current - math.floor(rate.previous * math.max(0, length - age - 1) / length)
end

-- Counts a debt, or takes back what a node no longer needs.
local function charge(rate, amount, began, length)
  if amount >= 0 or began == rate.began then
    rate.current = math.max(0, rate.current + amount)
  elseif began + length == rate.began then
    rate.previous = math.max(0, rate.previous + amount)
  end
end

-- While much is left a node gets what it wants; from less it gets a quarter, so that enough stays for the others; in the
-- end what one request needs, or nothing.
local function granted(rest, want, need)
  if want <= rest / 4 then return want end
  if need > rest then return 0 end
  return math.min(want, math.max(need, math.floor(rest / 4)))
end

local function read(key)
  local kept = redis.call('GET', key)
  if not kept then return nil end
  local began, current, previous, generation, hungry = unpack(cmsgpack.unpack(kept))
  return { began = began, current = current, previous = previous, generation = generation, hungry = hungry }
end

local function told(rate, lease)
  return { rate.began, rate.current, rate.previous, rate.generation, lease, now - rate.hungry }
end

local answers = {}
for at, entry in ipairs(entries) do
  local name, limit, length, amount, late, want, need, reset, known = unpack(entry)
  local key = prefix .. ':rate:' .. name
  local rate = read(key)
  local changed = false
  if not rate then
    -- New, or forgotten by a server that was restarted: then the first node that comes tells what it knew.
    rate = { began = known[1] or 0, current = known[2] or 0, previous = known[3] or 0, generation = known[4] or 0,
      hungry = 0 }
    changed = #known > 0
  end
  roll(rate, length)
  local lease = counted_before and leases[at] or 0
  if not counted_before then
    if reset then
      -- What a node owes at its reset it has used since.
      rate.began, rate.current, rate.previous, rate.generation = now, 0, 0, rate.generation + 1
      charge(rate, math.max(0, amount), now, length)
    elseif #known == 0 or known[4] == rate.generation then
      charge(rate, amount, known[1] or 0, length)
      rate.previous = math.max(0, rate.previous + late)
    end
    if want > 0 then
      lease = granted(left(rate, limit, length), want, need)
      rate.current = rate.current + lease
      if lease == 0 and now - rate.hungry > HUNGRY_AGAIN then
        rate.hungry = now
        changed = true
      end
    end
    changed = changed or reset or amount ~= 0 or late ~= 0 or lease > 0
  end
  if changed then
    local kept = cmsgpack.pack({ rate.began, rate.current, rate.previous, rate.generation, rate.hungry })
    redis.call('SET', key, kept, 'PX', math.ceil(length / 500))
    redis.call('ZADD', changes, now, name)
  end
  leases[at] = lease
  answers[at] = told(rate, lease)
end

redis.call('SET', latest, cmsgpack.pack({ number, leases }), 'PX', NODE_KEPT)
redis.call('ZREMRANGEBYSCORE', changes, '-inf', now - NEWS_KEPT)
local changed = redis.call('ZRANGEBYSCORE', changes, '(' .. string.format('%.0f', since), '+inf', 'WITHSCORES', 'LIMIT', 0,
  NEWS_AT_ONCE)
local news, heard = {}, now
for at = 1, #changed, 2 do
  local rate = read(prefix .. ':rate:' .. changed[at])
  if rate then news[#news + 1] = { changed[at], told(rate, 0) } end
  if #changed == 2 * NEWS_AT_ONCE then heard = tonumber(changed[at + 1]) end
end

return cmsgpack.pack({ now, heard, nodes, answers, news })
