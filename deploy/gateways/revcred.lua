-- HAProxy's question to revcred: may this call be let through? See haproxy.cfg.
-- It sets txn.revcred_status (200, 401, 403, 429, 503) and a variable for each header of the answer.

local AUTH = os.getenv("REVCRED_URL") .. "/v1/auth"
local TOKEN = os.getenv("REVCRED_TOKEN")
local LETS_THROUGH_UNASKED = os.getenv("REVCRED_UNAVAILABLE") == "open"
local TIMEOUT = 2000 -- milliseconds
local ANSWERED = {
    "code", "credential", "subscription", "customer", "product", "quota-remaining", "check", "claim",
}
-- Where callers show their keys. Nothing else of theirs is passed on.
local KEY_HEADERS = { "x-api-key", "authorization" }

local function ask(txn)
    local path, query = txn.sf:path(), txn.sf:query()
    local headers = {
        ["x-revcred-token"] = { TOKEN },
        ["x-original-uri"] = { query ~= "" and path .. "?" .. query or path },
        ["x-original-method"] = { txn.sf:method() },
    }
    local sent = txn.http:req_get_headers()
    for _, name in ipairs(KEY_HEADERS) do
        if sent[name] then
            headers[name] = { sent[name][0] }
        end
    end
    return core.httpclient():get({ url = AUTH, headers = headers, timeout = TIMEOUT })
end

core.register_action("ask_revcred", { "http-req" }, function(txn)
    local answer = ask(txn)
    local status = answer and answer.status or 0
    for _, name in ipairs(ANSWERED) do
        local values = answer and answer.headers and answer.headers["x-revcred-" .. name]
        txn:set_var("txn.revcred_" .. name:gsub("-", "_"), values and values[0] or "")
    end
    -- 0: not to be reached, or not in time.
    if status == 0 or status >= 500 then
        status = LETS_THROUGH_UNASKED and 200 or 503
    end
    txn:set_var("txn.revcred_status", status)
end, 0)
