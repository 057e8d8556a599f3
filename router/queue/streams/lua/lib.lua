-- Shared by the scripts of this folder: it is put before each of them.
--
-- Keys, all of one hash tag, so that a script may touch several:
--   <tag>:s:<step>:<queue>  stream: the queue's entries of one priority step, fields b (body) and, if not all default, m (meta, JSON)
--   <tag>:d:<queue>         sorted set: delayed messages by due time in ms
--   <tag>:queues            hash: queue -> declared arguments, JSON
--   <tag>:exchanges         hash: exchange -> how it was declared, JSON
--   <tag>:b:<exchange>      set: bindings, JSON [routing key, queue, temporary]
--
-- An entry is in one of three states: waiting (never read, or owned by the pseudo-consumer `released`, which gives back what was
-- requeued), in hands (owned by a consumer), or gone. Nothing is ever acknowledged without being deleted, so a stream's length is what is
-- not acknowledged yet.

local CHUNK = 1000 -- unpack() has a limit of some thousands

-- Acknowledges and deletes; returns how many entries there were.
local function remove(key, group, ids, first, last)
  local deleted = 0
  for from = first, last, CHUNK do
    local to = math.min(from + CHUNK - 1, last)
    redis.call('XACK', key, group, unpack(ids, from, to))
    deleted = deleted + redis.call('XDEL', key, unpack(ids, from, to))
  end
  return deleted
end

local function has_group(key, group)
  if redis.call('EXISTS', key) == 0 then return false end
  for _, fields in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    for n = 1, #fields, 2 do
      if fields[n] == 'name' and fields[n + 1] == group then return true end
    end
  end
  return false
end

-- Makes the group where there is none, from the start of the stream: nothing that was published before is lost. Where there is one it only
-- reads, so that a consumer can start, and make room, while memory is full. Returns whether it made one.
local function make_group(key, group)
  if has_group(key, group) then return false end
  redis.call('XGROUP', 'CREATE', key, group, '0', 'MKSTREAM')
  return true
end

-- XPENDING, and nothing where the group or the stream is missing.
local function pending(key, group, ...)
  local found = redis.pcall('XPENDING', key, group, ...)
  if found.err then
    if string.find(found.err, 'NOGROUP', 1, true) then return {}, true end
    error(found.err)
  end
  return found, false
end

-- Makes the consumer the owner of entries; each counts as one more delivery. Returns the entries and how often each has been delivered.
local function take_over(key, group, consumer, ids)
  local entries, counts = {}, {}
  for _, id in ipairs(ids) do
    local entry = redis.call('XCLAIM', key, group, consumer, 0, id)[1]
    if entry then
      entries[#entries + 1] = entry
      counts[#counts + 1] = redis.call('XPENDING', key, group, id, id, 1)[1][4]
    else
      redis.call('XACK', key, group, id) -- deleted by somebody else
    end
  end
  return entries, counts
end

local function owned(key, group, consumer, id)
  return #pending(key, group, id, id, 1, consumer) == 1
end

local function milliseconds()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- Waiting entries, entries in hands.
local function count(key, group, released)
  local length = redis.call('XLEN', key)
  if length == 0 then return 0, 0 end
  local summary, missing = pending(key, group)
  if missing then return length, 0 end
  local hands = summary[1]
  for _, owner in ipairs(summary[4] or {}) do
    if owner[1] == released then hands = hands - tonumber(owner[2]) end
  end
  return math.max(length - hands, 0), hands
end
