-- Health of a RerankerService for Argo CD (Lua 5.1): from `obj` to `hs.status` and `hs.message`.
-- Degraded ends a sync, so it is said only of what does not go on by itself; what is waited for is Progressing.
hs = {status = "Progressing", message = "no operator has looked at this generation yet"}

if obj.status == nil or obj.status.conditions == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return hs
end

local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
local ready, stalled, progressing = found.Ready, found.Stalled, found.Progressing
if ready == nil then
  return hs
end

hs.message = ready.message
if stalled ~= nil and stalled.status == "True" then
  hs.status = "Degraded"
  hs.message = stalled.message
elseif ready.status == "True" then
  hs.status = "Healthy"
elseif ready.reason == "Paused" then
  hs.status = "Suspended"
elseif ready.reason == "NotFound" or (progressing ~= nil and progressing.status == "True") then
  hs.status = "Progressing"
elseif ready.reason == "RankingPending" then
  hs.status = "Progressing"
else
  hs.status = "Degraded"
end
return hs
