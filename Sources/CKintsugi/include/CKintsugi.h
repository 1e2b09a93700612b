#pragma once
#include "kintsugi_crc32c.h"
#include "kintsugi_io.h"
#include "kintsugi_death.h"
#include "kintsugi_number.h"
#include "kintsugi_prefetch.h"
#include "kintsugi_poll.h"
#include "kintsugi_spawn.h"
